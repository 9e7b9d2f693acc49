import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it } from 'vitest'
import { roomFor, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiveRoom, backUpTo, unpack } from './capturing.js'

let cluster: TestCluster
beforeAll(async () => {
  cluster = await startCluster({ lean: true, settings: { logging_collector: 'on', log_directory: 'log' } })
})

async function names(tar: string): Promise<string[]> {
  return (await execa('tar', ['-t', '-f', tar])).stdout.split('\n')
}

describe('the server’s own logs', () => {
  const isLog = (name: string) => name.startsWith('log/') && name !== 'log/'

  it('are left out, their directory is not, and the copy is whole but for them', async () => {
    symlinkSync('/nonexistent', join(cluster.directory, 'log', 'latest'))
    const tar = join(archiveRoom(cluster), 'without.tar')
    const { facts, warnings } = await backUpTo(tar, cluster)
    const held = await names(tar)
    expect(held.filter(isLog)).toEqual([])
    expect(held).toContain('log/')
    expect(facts.server_logs_left_out).toBe('log')
    // What the server says of links to logs is of no concern.
    expect(warnings).toEqual([])
    const directory = await unpack(tar, cluster)
    await cluster.run('pg_verifybackup', ['-i', 'log', directory])
    const copy = await startCluster({ directory })
    expect(await copy.psql('SELECT 1')).toBe('1')
  })

  it('are kept where that is asked for', async () => {
    const tar = join(archiveRoom(cluster), 'with.tar')
    const { facts } = await backUpTo(tar, cluster, { wishes: { serverLogs: true } })
    expect((await names(tar)).filter(isLog)).not.toEqual([])
    expect(facts).not.toHaveProperty('server_logs_left_out')
  })
})

it('a rate and a kind of checkpoint are pg_basebackup’s business', async () => {
  const room = archiveRoom(cluster)
  const program = (name: string, text: string) => {
    writeFileSync(join(room, name), `#!/bin/sh\n${text}\n`)
    chmodSync(join(room, name), 0o755)
  }
  const words = join(roomFor(cluster, 'words'), 'list')
  program('psql', `exec ${cluster.bin}/psql "$@"`)
  program('pg_basebackup', `[ "$1" = --version ] || echo "$@" > ${words}\nexec ${cluster.bin}/pg_basebackup "$@"`)
  const tar = join(room, 'slow.tar')
  await backUpTo(tar, cluster, { binDirectory: room, wishes: { maxRate: 50_000_000, checkpoint: 'spread' } })
  expect(readFileSync(words, 'utf8')).toContain('-c spread -l nexus-backup --max-rate=48828 ')
  await backUpTo(tar, cluster, { binDirectory: room })
  expect(readFileSync(words, 'utf8')).toMatch(/-c fast (?!.*max-rate)/)
})

it.skipIf(process.getuid?.() !== 0)('a lost+found of root’s fails it with a command that helps', async () => {
  mkdirSync(join(cluster.directory, 'lost+found'), { mode: 0o700 })
  const tar = join(archiveRoom(cluster), 'mount.tar')
  const failure: { code?: string; hint?: string } = await backUpTo(tar, cluster).then(
    () => ({}),
    error => error,
  )
  expect(failure.code).toBe('lost_and_found')
  const [, command = ''] = /: (chown .*)$/.exec(failure.hint ?? '') ?? []
  expect(command).toContain(cluster.directory)
  await execa(command, { shell: true })
  await backUpTo(tar, cluster)
  expect(await names(tar)).toContain('lost+found/')
})
