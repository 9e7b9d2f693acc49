import { randomFillSync } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { storedIn } from '../../helpers/stored.js'
import { atMoments } from './kills.js'
import { MIB, type WalPlace, walPlace } from './wal-place.js'

/** The archive has these files of pg_wal, byte for byte. */
export async function expectStored(at: WalPlace, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { plain } = await at.archive.read(name)
    expect(plain.equals(readFileSync(join(at.data, 'pg_wal', name))), name).toBe(true)
  }
}

/** pitr archive, killed while it looks ahead: what a note tells is stored, and what is stored is whole. */
export async function killLookingAhead(count: number): Promise<void> {
  const at = await walPlace()
  const stored = storedIn(at.repository)
  const call = (name: string) => ['pitr', 'archive', `pg_wal/${name}`]
  const names = at.ready([1, 2, 3, 4, 5, 6, 7, 8], { segmentBytes: 4 * MIB })
  for (const name of names) {
    const bytes = readFileSync(join(at.data, 'pg_wal', name))
    randomFillSync(bytes, 100)
    writeFileSync(join(at.data, 'pg_wal', name), bytes)
  }
  const [first = ''] = names
  const { duration } = await at.archiveSegment(first)
  await atMoments(count, duration, async kill => {
    if (stored.files('main/wal').length > 0) stored.remove('main/wal')
    rmSync(join(at.data, 'pg_wal/.nexus-backup'), { recursive: true, force: true })
    await kill(at.start(['--config', at.config, ...call(first)]))
    for (const name of names) if ((await at.withoutNode(call(name))) === 0) await expectStored(at, [name])
    // What lies under its final name is whole, told or not.
    for (const name of await at.archive.names()) await expectStored(at, [name])
  })
  for (const name of names) expect((await at.archiveSegment(name)).code).toBe(0)
  await expectStored(at, names)
}
