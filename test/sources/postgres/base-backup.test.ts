import { setTimeout as wait } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { startBaseBackup } from '../../../src/sources/postgres/base-backup.js'
import { openSession } from '../../../src/sources/postgres/session.js'
import { TarScanner } from '../../../src/sources/postgres/tar-scan.js'
import { startCluster } from '../../helpers/postgres.js'

it('keeps every byte for a reader that comes late', async () => {
  const cluster = await startCluster()
  const settings = { name: 'crm', connection: cluster.connection, dataDirectory: null, binDirectory: null }
  const around = { env: { PATH: process.env.PATH ?? '' }, signal: new AbortController().signal }
  const backup = startBaseBackup(await openSession(settings, ['psql', 'pg_basebackup'], around))
  const { stdout } = backup
  if (stdout === null) throw new Error('it does not stream')
  // Bytes are there and nobody has asked for them: what execa drains on its own has gone by when the stream ends.
  while (stdout.readableLength === 0 && !stdout.readableEnded) await wait(1)
  const scanner = new TarScanner()
  const names: string[] = []
  for await (const chunk of stdout) {
    for (const { kind, member } of scanner.push(chunk)) if (kind === 'header') names.push(member.name)
  }
  await backup.ended
  expect(names[0]).toBe('backup_label')
  expect(names.at(-1)).toBe('backup_manifest')
})
