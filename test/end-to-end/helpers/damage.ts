import { basename } from 'node:path'
import { expect } from 'vitest'
import { noJournal } from '../../../src/cli/journal.js'
import type { Context } from '../../../src/context.js'
import { NexusError } from '../../../src/errors.js'
import type { VerifiedBackup } from '../../../src/operations/results.js'
import { verify } from '../../../src/operations/verify.js'
import { idsIn, placeAt, storedIn } from '../../helpers/stored.js'

/**
 * Every file of a repository whose loss verify can know of, relative to it. Not among them are files that carry nothing:
 * the lock files are empty and the notes beside them only tell who waits for whom. Nor keys: what is
 * changed or lost of them test/operations/sealing/tampering.test.ts says.
 */
export function storedFiles(repository: string): string[] {
  return storedIn(repository)
    .files()
    .filter(name => !/(^|\/)(\.?locks|keys)\//.test(name))
}

/** Verifies everything, in this process: for the thousands of times that no process each could be started for. */
export async function verifyAll(context: Context, repository: string): Promise<VerifiedBackup[]> {
  const repositories = [{ name: 'repository', ...placeAt(repository) }]
  const { results } = await verify(context, noJournal, { repositories, sources: [], targets: [], drill: false })
  return results
}

/** What must be reported for damage in a file: the backup it belongs to with all that stands on it, or only that file. */
export async function expectFound(context: Context, repository: string, file: string, what: string): Promise<void> {
  let results: VerifiedBackup[]
  const warnings: string[] = []
  try {
    results = await verifyAll({ ...context, warn: message => void warnings.push(message) }, repository)
  } catch (error) {
    // Without its description nothing of a repository is believed.
    if (file === 'nexus-backup.json' && error instanceof NexusError && error.kind === 'damage') return
    throw new Error(`${file}: ${what}: verify failed`, { cause: error })
  }
  const damaged = results.filter(({ status }) => status === 'damaged')
  if (file.startsWith('app/proofs/')) {
    // A proof is no backup: what is wrong with it is a warning.
    expect({ file, what, damaged, warnings }).toEqual({
      ...{ file, what, damaged: [] },
      warnings: [expect.stringContaining(basename(file))],
    })
    return
  }
  const id = file.split('/').find(part => /^\d{8}T\d{6}\.\d{3}Z-[a-z]+-[0-9a-f]{4}$/.test(part))
  if (id === undefined) {
    const named = damaged
      .flatMap(({ findings }) => findings)
      .some(({ part, problem }) => {
        return `${part} ${problem}`.includes(basename(file))
      })
    if (!named) throw new Error(`${file}: ${what}: not found: ${JSON.stringify(damaged)}`)
    return
  }
  const ids = idsIn(repository, file.split('/')[0] ?? '')
  const own = damaged.find(result => result.id === id)
  const lost = ids.slice(ids.indexOf(id))
  if (own === undefined || own.findings.length === 0) throw new Error(`${file}: ${what}: not found`)
  expect({ file, what, affects: own.affects }).toEqual({ file, what, affects: lost })
  // And nothing that is sound is called damaged.
  expect({ file, what, damaged: damaged.map(result => result.id).sort() }).toEqual({ file, what, damaged: lost })
}

/** Flips a bit in every `stride`th byte of a file, one byte after the other, and asks verify each time. */
export async function flipBytes(context: Context, repository: string, file: string, stride: number): Promise<number> {
  const stored = storedIn(repository)
  const sound = stored.read(file)
  let count = 0
  for (let at = 0; at < sound.length; at += stride) {
    const broken = Buffer.from(sound)
    // Another bit each time, but not always the same one of a letter.
    broken[at] = (sound[at] ?? 0) ^ (1 << ((at * 5 + Math.floor(at / 8)) % 8))
    stored.write(file, broken)
    await expectFound(context, repository, file, `bit flipped in byte ${at}`)
    count += 1
  }
  stored.write(file, sound)
  return count
}

/** Cuts a file at every `stride`th length below its own. */
export async function cutShort(context: Context, repository: string, file: string, stride: number): Promise<void> {
  const stored = storedIn(repository)
  const sound = stored.read(file)
  for (let length = sound.length - 1; length >= 0; length -= stride) {
    stored.write(file, sound.subarray(0, length))
    await expectFound(context, repository, file, `cut to ${length} bytes`)
  }
  stored.write(file, Buffer.concat([sound, Buffer.from('\n')]))
  await expectFound(context, repository, file, 'a byte too many')
  stored.write(file, sound)
}

/** Takes a file away and puts it back. */
export async function takeAway(context: Context, repository: string, file: string): Promise<void> {
  const stored = storedIn(repository)
  const sound = stored.read(file)
  stored.remove(file)
  await expectFound(context, repository, file, 'missing')
  stored.write(file, sound)
}
