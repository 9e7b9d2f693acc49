import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  fitSums,
  forged,
  garbled,
  type HostilePlace,
  hostilePlace,
  type Mutation,
  misplaced,
  stateOf,
} from './hostile-objects.js'

const commands = ['list', 'full', 'latest', 'verify', 'prune', 'points', 'create'] as const
/** What is run: `full` and `latest` restore the full by its id, and the latest by the source's name. */
type Command = (typeof commands)[number]
/** Exit codes, where a command may end with another one than 0. */
type Outcome = Partial<Record<Command, number | readonly number[]>>

interface Subject {
  path(place: HostilePlace): string
  encrypted?: boolean
  /** What comes of it when it is something else. */
  damaged: Outcome
  /** What may come of it besides when every checksum fits. */
  forged?: Outcome
}

/** Nobody is shut out; whether list, verify and prune call it damage is for the proofs' own tests. */
const told = { list: [0, 3, 4], verify: [0, 3, 4], prune: [0, 3, 4] }
/** A backup that others do not stand on. */
const lost: Outcome = { list: 4, latest: 4, verify: 4, prune: 4 }
const asWritten: Outcome = { list: 0, full: 0, latest: 0, verify: 0, prune: 0 }
const everywhere = Object.fromEntries(commands.map(command => [command, 4]))

const subjects: Record<string, Subject> = {
  'the manifest of a full': {
    path: ({ ids }) => `app/${ids[0]}/manifest.json`,
    damaged: { ...lost, full: 4 },
    forged: asWritten,
  },
  'the manifest of an increment': {
    path: ({ ids }) => `app/${ids[1]}/manifest.json`,
    damaged: lost,
    forged: asWritten,
  },
  'the manifest of an encrypted increment': {
    path: ({ ids }) => `app/${ids[1]}/manifest.json`,
    encrypted: true,
    damaged: lost,
  },
  'the checksums of an increment': { path: ({ ids }) => `app/${ids[1]}/SHA256SUMS`, damaged: lost },
  'source.json': { path: () => 'app/source.json', damaged: { verify: 4 } },
  'a proof': { path: place => below(place, 'app/proofs', /\.json$/), damaged: told, forged: told },
  'nexus-backup.json': { path: () => 'nexus-backup.json', damaged: everywhere },
  // A link or a pipe in the root may stand for a source.
  'the checksums of the root': { path: () => 'SHA256SUMS', damaged: { verify: 4, list: [0, 4] } },
  'recover.mjs': { path: () => 'recover.mjs', damaged: { verify: 4, list: [0, 4] } },
  'the lock of prune': { path: () => 'app/.locks/delete', damaged: {} },
  'the lock of writers': { path: () => 'app/.locks/writer', damaged: {} },
  'what names the first epoch': { path: () => 'keys/first.json', encrypted: true, damaged: { verify: [0, 4] } },
  'what names the next epoch': {
    path: place => below(place, 'keys', /next\.json$/),
    encrypted: true,
    damaged: { verify: [0, 4] },
  },
  'an epoch': { path: place => below(place, 'keys', /epoch\.json$/), encrypted: true, damaged: { verify: 4 } },
  'the last epoch': {
    path: place => below(place, 'keys', /epoch\.json$/, 1),
    encrypted: true,
    damaged: { verify: 4 },
  },
  'a recipient': {
    path: place => below(place, 'keys', /recipients\/.*\.json$/, 1),
    encrypted: true,
    damaged: { verify: 4 },
    // Only who opens the epoch could tell that it is not what was written.
    forged: { full: 8, latest: 8, verify: [0, 3] },
  },
  'a host': {
    path: place => below(place, 'keys/hosts', /^[^/]*\.json$/),
    encrypted: true,
    damaged: { verify: [0, 4] },
  },
  'the word for a host': {
    path: place => below(place, 'keys/hosts', /\/.*\.json$/),
    encrypted: true,
    damaged: { verify: [0, 4] },
  },
}

function below({ repository }: HostilePlace, directory: string, pattern: RegExp, number = 0): string {
  const names = readdirSync(join(repository, directory), { recursive: true, encoding: 'utf8' })
  return join(directory, names.filter(name => pattern.test(name)).sort()[number] ?? 'none')
}

const places = new Map<boolean, Promise<HostilePlace>>()
function placeOf(encrypted: boolean): Promise<HostilePlace> {
  const known = places.get(encrypted) ?? hostilePlace(encrypted)
  places.set(encrypted, known)
  return known
}
afterAll(async () => {
  for (const place of places.values()) rmSync((await place).directory, { recursive: true, force: true })
})

const wordsOf = (place: HostilePlace): Record<Command, string[]> => {
  const to = ['--to', join(place.directory, 'restored.db'), '--dry-run']
  return {
    list: ['list'],
    full: ['restore', place.ids[0] ?? '', ...to],
    latest: ['restore', 'app', ...to],
    verify: ['verify'],
    prune: ['prune', 'app', '--keep-last', '1', '--dry-run'],
    points: ['pitr', 'points', 'app'],
    create: ['create', '--dry-run'],
  }
}

/** A process that takes longer for a repository of kilobytes hangs, or is being exhausted. */
const LONGEST_MS = 120_000

async function expectOutcomes(
  place: HostilePlace,
  mutation: Mutation,
  chosen: readonly Command[],
  allowed: (command: Command) => readonly number[],
): Promise<void> {
  for (const command of chosen) {
    const began = performance.now()
    const { status, stderr } = await place.run(...wordsOf(place)[command])
    const what = `${command} with ${mutation.name}: ${stderr}`
    expect(allowed(command), what).toContain(status)
    expect(stderr, what).not.toMatch(/defect|^ +at /m)
    expect(performance.now() - began, what).toBeLessThan(LONGEST_MS)
  }
}

/**
 * Every object with everything in its place. Each is met by some commands, in turn, so that all commands meet all objects, and
 * all kinds of garbage.
 */
describe.each(Object.entries(subjects))('%s that is something else', (_, {
  path,
  encrypted = false,
  damaged,
  forged: also = {},
}) => {
  const codes = (outcome: Outcome, command: Command) => [outcome[command] ?? 0].flat()

  it('ends each command as documented, and nothing else is changed', async () => {
    const place = await placeOf(encrypted)
    const object = join(place.repository, path(place))
    const kept = join(place.directory, 'kept')
    cpSync(place.repository, kept, { recursive: true })
    onTestFinished(() => rmSync(kept, { recursive: true }))
    const original = readFileSync(object)
    const forgeries = new Set(object.endsWith('.json') ? forged(original, object.length) : [])
    for (const [number, mutation] of [...garbled, ...misplaced, ...forgeries].entries()) {
      const isForged = forgeries.has(mutation)
      mutation.put(object)
      if (isForged && object.endsWith('manifest.json')) fitSums(object)
      const before = stateOf(place.repository)
      const share = misplaced.includes(mutation) ? 3 : 1
      const chosen = Array.from({ length: share }, (_, n) => commands[(number * share + n) % commands.length] ?? 'list')
      try {
        await expectOutcomes(place, mutation, chosen, command => [
          ...codes(damaged, command),
          ...(isForged ? codes(also, command) : []),
        ])
        expect(stateOf(place.repository)).toEqual(before)
      } finally {
        // What verify found stays as a proof.
        for (const name of [object, join(dirname(object), 'SHA256SUMS'), join(place.repository, 'app/proofs')]) {
          const was = join(kept, name.slice(place.repository.length))
          rmSync(name, { recursive: true, force: true })
          if (existsSync(was)) cpSync(was, name, { recursive: true })
        }
      }
    }
  })
})
