import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { openJournal } from '../../src/journal/journal.js'
import { addKeys } from '../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../src/operations/keys/distrust-host.js'
import { keepKeys, missingKeys } from '../../src/operations/keys/kept-keys.js'
import { removeKey } from '../../src/operations/keys/remove-key.js'
import { readKnown } from '../../src/operations/known-backups.js'
import { readPlan, writePlan } from '../../src/operations/prune/prune-plan.js'
import { hostSigner, readPin, walIdentity } from '../../src/operations/sealing/host-keys.js'
import { register } from '../../src/operations/sealing/sealing-for.js'
import { walReader, walSealFor } from '../../src/operations/sealing/wal-seal-for.js'
import { loadKeyring } from '../../src/operations/trust/keyring-of.js'
import { noteWalKeptFrom, readWalKeptFrom } from '../../src/operations/wal/wal-kept-from.js'
import { readAttestations, writeAttestation } from '../../src/repository/keyring/attestation.js'
import { readDistrust } from '../../src/repository/keys/distrust-file.js'
import type { Epoch } from '../../src/repository/keys/epoch.js'
import { readHost } from '../../src/repository/keys/host-file.js'
import { recipientsDirectory, vouchDirectory } from '../../src/repository/keys/key-layout.js'
import { readOwnEpochs } from '../../src/repository/keys/key-room.js'
import { isRemoved, type Wrap } from '../../src/repository/keys/removal-file.js'
import { openRepository } from '../../src/repository/open.js'
import { readPruneRecords, writePruneRecord } from '../../src/repository/prune-record.js'
import { trustedFiles } from '../../src/repository/recovery-signature.js'
import { parseLease } from '../../src/repository/storage/s3/lease-state.js'
import type { Repository } from '../../src/repository/types.js'
import { parseWalHeader } from '../../src/repository/wal/wal-file.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import type { Application } from './application.js'
import { forged, garbled, type Mutation, misplaced } from './hostile-objects.js'
import { encryptedApplication, keyFile } from './sealing/encrypted.js'
import { segmentContent, name as segmentOf, system } from './wal-shelf.js'

interface Place {
  app: Application
  repository: Repository
  epoch: Epoch
  /** A recipient that was taken out, and a host that is distrusted. */
  removed: Wrap
  distrusted: string
}

const at = new Date('2025-12-01T00:00:00Z')
const ID = '20251103T030000.123Z-full-7f3a'
const [SEALED, HISTORY] = [segmentOf(1), '00000002.history']

/** A repository with one of each small object, and a state directory that remembers it. */
async function makePlace(): Promise<Place> {
  const [key, spare] = [keyFile(), keyFile()]
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const { context, journal, source } = app
  await app.create({ type: 'full' })
  const settings = source.repository
  const repository = await openRepository(settings)
  const { storage, id } = repository
  const [epoch] = await readOwnEpochs(storage, id)
  if (epoch === undefined) throw new Error('there is no epoch')
  const { added } = await addKeys(context, journal, { repository: settings, recipients: [spare], label: null })
  const wrapped = added[0] ?? ''
  const bytes = await storage.readSmall(`${recipientsDirectory(epoch.id)}/${wrapped}.json`, 1 << 16)
  await removeKey(context, journal, { repository: settings, id: wrapped, force: false, dryRun: false })
  const signer = await hostSigner(context)
  const known = { repository: id, source: 'app', host: 'db1', now: at }
  await writePruneRecord(storage, { ...known, pruned: [ID] }, signer)
  await writeAttestation(storage, { ...known, line: epoch }, signer)
  const room = repository.source('app')
  await noteWalKeptFrom(room, system, 5n << 24n, at)
  await writePlan(context, room, [{ id: ID, reasons: ['old'] }], [])
  const wal = room.wal(system, await walSealFor(context, repository, settings.encryption))
  await wal.put(SEALED, segmentContent(1), { closedAt: at, now: at })
  await wal.put(HISTORY, Buffer.from('1\t0/300000\tno reason\n'), { closedAt: at, now: at })
  await room.wal(system).put(segmentOf(9), segmentContent(9), { closedAt: at, now: at })
  const stranger = await hostSigner({ stateDirectory: join(temporaryDirectory(), 'state') })
  await register(context, repository, stranger, { epoch, keys: await context.keys.open(storage, epoch.id) })
  await distrustHost(context, journal, { repository: settings, id: stranger.id, all: true, dryRun: false })
  await keepKeys(context, repository)
  await walIdentity(context, id)
  const written = openJournal(context.stateDirectory, context)
  written.begin({ operation: 'create', source: 'app', repository: 'r' })
  written.close()
  return { app, repository, epoch, removed: { epoch: epoch.id, id: wrapped, bytes }, distrusted: stranger.id }
}

interface Subject {
  /** Where it lies: in the repository, or in the state directory. */
  path(place: Place): string
  /** What a reader makes of it, as text. */
  read(place: Place): Promise<unknown> | unknown
  /** What may come of it when it is not what was written: errors by their codes, else the text. */
  outcomes: readonly (string | RegExp)[]
  /** Not bound by a digest or a signature: it may say something else, which is then taken as it is. */
  isPlain?: boolean
}

const inRepository =
  (directory: string, pattern: RegExp) =>
  ({ app }: Place) =>
    find(join(app.source.repository.path, directory), pattern)
const inState =
  (directory: string, pattern: RegExp) =>
  ({ app }: Place) =>
    find(join(app.context.stateDirectory, directory), pattern)

function find(directory: string, pattern: RegExp): string {
  const name = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .find(one => pattern.test(one))
  if (name === undefined) throw new Error(`there is no ${pattern} in ${directory}`)
  return join(directory, name)
}

const walOf = ({ app, repository }: Place) =>
  repository.source('app').wal(system, walReader({ ...app.context, warn: () => {} }, repository))
const readingWal = (name: string) => async (place: Place) =>
  (await walOf(place).read(name)).plain.toString('latin1').slice(0, 99)
/** With the damage of what is no file at all. */
const walOutcomes = ['wal_damaged', 'wal_untrusted', 'repository_damaged', 'repository_symlink']
const stateOutcomes = ['state_unusable']

const subjects: Record<string, Subject> = {
  'what a host has pruned': {
    path: inRepository('app', /^\.pruned-/),
    read: ({ repository }) => readPruneRecords(repository.storage, repository.id, 'app'),
    outcomes: ['[]'],
  },
  'the word for a copy': {
    path: inRepository('keys/copies', /1\.json$/),
    read: ({ repository }) => readAttestations(repository.storage, repository.id, 'app'),
    outcomes: ['[]'],
  },
  'the word for recover.mjs': {
    path: inRepository('keys/recovery', /\.json$/),
    read: async ({ app, repository }) => trustedFiles(repository, await loadKeyring(app.context, repository, [])),
    outcomes: ['[]'],
  },
  'the word against a recipient': {
    path: inRepository('keys', /removals\/.*\.json$|removed\/.*\.json$/),
    read: ({ repository, removed, epoch }) => isRemoved(repository.storage, removed, epoch),
    outcomes: ['false'],
  },
  'the word against a host': {
    path: inRepository('keys/hosts', /distrust/),
    read: async ({ repository, distrusted, epoch }) => {
      const host = await readHost(repository.storage, distrusted)
      const names = new Set((await repository.storage.list(vouchDirectory(distrusted))).map(({ name }) => name))
      return host && (await readDistrust(repository.storage, { host, names }, [epoch]))
    },
    outcomes: ['undefined'],
  },
  'sealed WAL': { path: inRepository('app/wal', /\.enc$/), read: readingWal(SEALED), outcomes: walOutcomes },
  'signed WAL': { path: inRepository('app/wal', /history/), read: readingWal(HISTORY), outcomes: walOutcomes },
  'WAL in plain': {
    path: inRepository('app/wal', /9\.zst$/),
    read: async ({ repository }) => (await repository.source('app').wal(system).read(segmentOf(9))).header,
    outcomes: walOutcomes,
  },
  'the header of sealed WAL': {
    path: inRepository('app/wal', /\.enc$/),
    read: place => walOf(place).header(SEALED),
    outcomes: walOutcomes,
  },
  'from where on WAL is kept': {
    path: inRepository('app', /wal-kept-from/),
    read: async ({ repository }) => [...(await readWalKeptFrom(repository.source('app')))].map(String),
    outcomes: ['wal_record_damaged'],
    isPlain: true,
  },
  'the plan of a prune': {
    path: inRepository('app', /prune-plan/),
    read: ({ repository }) => readPlan(repository.source('app')),
    outcomes: ['undefined'],
    isPlain: true,
  },
  'a kept epoch': {
    path: inState('keys/kept', /epoch\.json$/),
    read: ({ app, repository }) => missingKeys(app.context, repository),
    outcomes: ['[]'],
  },
  'the epoch that is known': {
    path: inState('keys', /^[^/]*\.json$/),
    read: ({ app, repository }) => readPin(app.context, repository.id),
    outcomes: ['pin_damaged', ...stateOutcomes],
    isPlain: true,
  },
  'the key of the host': {
    path: inState('keys', /^signing-key$/),
    read: async ({ app }) => (await hostSigner(app.context)).id,
    outcomes: ['signing_key_damaged', ...stateOutcomes],
    isPlain: true,
  },
  'the key that marks WAL': {
    path: inState('keys/wal', /./),
    read: async ({ app, repository }) => (await walIdentity(app.context, repository.id)).id,
    outcomes: stateOutcomes,
    isPlain: true,
  },
  'the backups that are known': {
    path: inState('known', /app\.json$/),
    read: ({ app, repository }) => readKnown(app.context, repository.id, 'app'),
    outcomes: ['{}'],
    isPlain: true,
  },
  'the journal': {
    path: inState('', /^catalog\.db$/),
    read: ({ app }) => {
      const journal = openJournal(app.context.stateDirectory, app.context)
      try {
        return [journal.read().chain.ok, journal.head()?.sequence]
      } finally {
        journal.close()
      }
    },
    outcomes: [/^journal_(damaged|foreign|version|error|permission)$/],
    isPlain: true,
  },
}

async function outcomeOf(reading: () => unknown): Promise<string> {
  try {
    return text(await reading())
  } catch (error) {
    return error instanceof NexusError ? error.code : `defect: ${error}`
  }
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? `${one}` : one)) ?? 'undefined'
}

/** Flips, cuts and insertions at places that a generator with a seed draws. */
function drawn(bytes: Buffer, count: number): Mutation[] {
  let seed = bytes.length
  const next = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
    return (seed >>> 8) % below
  }
  return Array.from({ length: count }, (_, number) => {
    // What is small and near the beginning is looked at most.
    const position = next(number % 2 === 0 ? Math.min(bytes.length, 600) : bytes.length)
    const change = [
      () =>
        Buffer.concat([
          bytes.subarray(0, position),
          Buffer.from([(bytes[position] ?? 0) ^ (1 << next(8))]),
          bytes.subarray(position + 1),
        ]),
      () => bytes.subarray(0, position),
      () =>
        Buffer.concat([bytes.subarray(0, position), Buffer.alloc(1 + next(9000), next(256)), bytes.subarray(position)]),
    ][number % 3]
    const changed = change?.() ?? bytes
    return { name: `${number}: at ${position}`, put: path => writeFileSync(path, changed) }
  })
}

/** Everything in the place of an object in turn; what came of it that is not documented. */
async function undocumented(place: Place, { path, read, outcomes, isPlain = false }: Subject): Promise<string[]> {
  const object = path(place)
  const original = readFileSync(object)
  const asWritten = await outcomeOf(() => read(place))
  const forgeries = object.endsWith('.json') ? forged(original, object.length) : []
  const found: string[] = []
  for (const mutation of [...garbled, ...misplaced, ...forgeries, ...drawn(original, 30)]) {
    mutation.put(object)
    const outcome = await outcomeOf(() => read(place))
    rmSync(object, { recursive: true, force: true })
    writeFileSync(object, original)
    const isDocumented = outcomes.some(one => (typeof one === 'string' ? one === outcome : one.test(outcome)))
    const isTaken = isPlain && !isError(outcome)
    if (outcome !== asWritten && !isDocumented && !isTaken) found.push(`${mutation.name}: ${outcome}`)
  }
  if ((await outcomeOf(() => read(place))) !== asWritten) found.push('it is not read again as it was written')
  return found
}

const isError = (outcome: string) => /^([a-z]+(_[a-z]+)+$|defect)/.test(outcome)
const MEMORY_BYTES = 300 * 1024 * 1024

describe('a small object that is something else', () => {
  it('says nothing else than documented, and takes no memory', async () => {
    const place = await makePlace()
    const before = process.memoryUsage().rss
    const found: Record<string, string[]> = {}
    for (const [what, subject] of Object.entries(subjects)) {
      const problems = await undocumented(place, subject)
      if (problems.length > 0) found[what] = problems
    }
    expect(found).toEqual({})
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES)
  })
})

describe('a lease that is something else', () => {
  const lease = Buffer.from('{\n  "format": 1,\n  "holders": []\n}\n')

  it('is damaged, or of a later version', () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'lease')
    for (const { name, put } of [...garbled.slice(0, -1), ...forged(lease, 3), ...drawn(lease, 60)]) {
      writeFileSync(path, lease)
      put(path)
      try {
        expect(parseLease(readFileSync(path), 'here'), name).toEqual([])
      } catch (error) {
        expect((error as { code?: string }).code, name).toMatch(/^lease_(damaged|newer)$/)
      }
    }
  })
})

describe('the header of WAL', () => {
  it('with any length that it gives itself is damaged', () => {
    for (const length of [0, 1, 65, 66, 4087, 4088, 4089, 1 << 24, 0x7fffffff, 0xffffffff]) {
      const bytes = Buffer.alloc(5000, '{')
      bytes.writeUInt32LE(0x184d2a50, 0)
      bytes.writeUInt32LE(length, 4)
      for (const end of [0, 7, 8, 74, bytes.length]) {
        expect(() => parseWalHeader(bytes.subarray(0, end), 'x', { name: SEALED, systemIdentifier: system })).toThrow(
          expect.objectContaining({ code: 'wal_damaged' }),
        )
      }
    }
  })
})
