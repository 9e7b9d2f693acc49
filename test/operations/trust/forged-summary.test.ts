import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { judgeEntries } from '../../../src/operations/trust/judged.js'
import { sourceRoom } from '../../../src/repository/source-room.js'
import type { Storage } from '../../../src/repository/storage/storage.js'
import { formatSummary } from '../../../src/repository/summary.js'
import { encryptedApplication, keyFile } from '../sealing/encrypted.js'
import { opened } from './bench.js'

/** A directory that is read as a bucket is, by summaries. */
function asBucket(storage: Storage): Storage {
  return new Proxy(storage, {
    get(target, key) {
      if (key === 'localPath') return () => undefined
      const value = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

it('no summary that somebody adds makes a backup damaged, somebody else’s, or another one', async () => {
  const app = await encryptedApplication([keyFile()])
  const made = async (type: 'full' | 'incr') => (await app.create({ type })).backups[0]?.id ?? ''
  const [full, incr] = [await made('full'), await made('incr')]
  const root = join(app.source.repository.path, 'app')
  const genuine = (id: string) => ({
    manifest: readFileSync(join(root, id, 'manifest.json'), 'utf8'),
    sums: readFileSync(join(root, id, 'SHA256SUMS'), 'utf8'),
  })
  /** As they lie in a summary: with checksums that fit the manifest, unless others are given. */
  const summed = (id: string, manifest: string, sums?: string): [string, string][] => {
    const fitting = genuine(id).sums.replace(
      /^[0-9a-f]{64}(?= {2}manifest\.json$)/m,
      createHash('sha256').update(manifest).digest('hex'),
    )
    return [
      [`${id}/manifest.json`, manifest],
      [`${id}/SHA256SUMS`, sums ?? fitting],
    ]
  }
  const changed = (id: string, change: object) =>
    `${JSON.stringify({ ...JSON.parse(genuine(id).manifest), ...change }, null, 2)}\n`
  const summaries: Record<string, [string, string][]> = {
    stale: summed(full, genuine(full).manifest),
    'of garbage': [...summed(full, '{'), ...summed(incr, '')],
    'of other checksums': [
      ...summed(full, genuine(full).manifest, 'x'),
      ...summed(incr, genuine(incr).manifest, genuine(full).sums),
    ],
    'of another manifest in its place': summed(incr, genuine(full).manifest),
    'of a manifest that nobody signed': summed(incr, changed(incr, { encryption: undefined })),
    'of a later sequence': summed(full, changed(full, { sequence: 99 })),
    'of a format to come': summed(incr, changed(incr, { format: 2 })),
    'of a backup that is not there': summed(full, genuine(full).manifest).map(([name, text]) => [
      name.replace(full, '20990101T000000.000Z-full-0000'),
      text,
    ]),
  }
  const local = await opened(app)
  const repository = { ...local, storage: asBucket(local.storage) }
  for (const [what, texts] of Object.entries(summaries)) {
    rmSync(join(root, 'index'), { recursive: true, force: true })
    mkdirSync(join(root, 'index'))
    writeFileSync(join(root, 'index', '999999999999999.json.zst'), formatSummary(new Map(texts)))
    const room = sourceRoom(repository, repository.storage, 'app')
    const { entries, ours, apart } = await judgeEntries(app.context, room, await room.entries(), { known: {} })
    expect(
      entries.map(({ id, status }) => [id, status]),
      what,
    ).toEqual([
      [full, 'ok'],
      [incr, 'ok'],
    ])
    expect([ours.map(({ id, sequence }) => [id, sequence]), apart], what).toEqual([
      [
        [full, 1],
        [incr, 2],
      ],
      [],
    ])
  }
})
