import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { untrustedWalConcern } from '../../../src/operations/pitr/untrusted-wal.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { verify } from '../../../src/operations/verify.js'
import { keysDirectory } from '../../../src/repository/keys/key-layout.js'
import { readOwnEpochs } from '../../../src/repository/keys/key-room.js'
import { openRepository } from '../../../src/repository/open.js'
import { formatWalHeader, parseWalHeader, type WalFileHeader } from '../../../src/repository/wal/wal-file.js'
import { unsealed } from '../../../src/repository/wal/wal-seal.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { system } from '../../sources/postgres/segments.js'
import { listeningJournal } from '../application.js'
import { asOfOldVersion } from '../keys/old-epoch.js'
import { accessWith, keyFile } from '../sealing/encrypted.js'
import { type WalCalls, walCalls } from './calls.js'

/** An archive and the host that archives into it; nothing is encrypted yet. */
async function place() {
  const at = await walCalls()
  const key = keyFile()
  const warnings: string[] = []
  const context: Context = {
    ...at.context,
    keys: accessWith(key),
    stateDirectory: join(temporaryDirectory(), 'state'),
    warn: message => void warnings.push(message),
  }
  const repository = { name: 'local', path: at.repository }
  const journal = listeningJournal()
  const encrypt = () => addKeys(context, journal, { repository, recipients: [key], label: null })
  return { at, key, context, warnings, repository, journal, encrypt }
}

type Place = Awaited<ReturnType<typeof place>>

/** The same with an encrypted archive. */
async function encryptedPlace(): Promise<Place> {
  const here = await place()
  await here.encrypt()
  return here
}

const fileOf = ({ repository }: WalCalls, name: string, suffix = '.zst.enc') =>
  join(repository, 'main', 'wal', system, name.slice(0, 8), `${name}${suffix}`)

const history = '00000002.history'

async function archive({ at, context }: Place, numbers: readonly number[]): Promise<string[]> {
  const names = at.ready(numbers)
  for (const name of names) await at.archiveFile(name, { ahead: null }, context)
  return names
}

async function archiveHistory({ at, context }: Place, by: Context = context): Promise<void> {
  writeFileSync(at.wal(history), '1\t0/300000\tno recovery target specified\n')
  await at.archiveFile(history, { ahead: null }, by)
}

/** Fetches with nothing of the host's memory but the key, as a recovering server elsewhere does. */
function fetchAnywhere({ at, context }: Place, name: string) {
  const elsewhere = { ...context, stateDirectory: join(temporaryDirectory(), 'state') }
  return at.fetchFile(name, { ahead: null }, elsewhere)
}

const untrusted = { kind: 'damage', code: 'wal_untrusted' }

/** What a create of the cluster says of the file that its server archived last. */
async function concernsOf({ context, repository }: Place, name: string) {
  const room = (await openRepository(repository)).source('main')
  const lastArchived = { name, at: '2026-01-01T00:00:00.000Z' }
  return untrustedWalConcern(context, room, { lastArchived, systemIdentifier: system })
}

/** How recover.mjs ends for the same file: as a restore_command, with the key. */
async function recovered({ at, key }: Place, name: string, ...more: string[]): Promise<number | undefined> {
  const stored = join(at.repository, 'main', 'wal', system)
  const script = join(at.repository, 'recover.mjs')
  const words = [script, '--wal', stored, name, join(temporaryDirectory(), 'out'), '--key-file', key.path, ...more]
  return (await execa(process.execPath, words, { reject: false })).exitCode
}

/** What verify says of each timeline. */
async function verified({ context, journal, repository }: Place): Promise<Record<string, string>> {
  const request = { repositories: [repository], sources: [], targets: ['main'], drill: false }
  const { results } = await verify(context, journal, request)
  return Object.fromEntries(results.map(({ id, status }) => [id, status]))
}

/** Writes a stored file's header anew, the checksums to match. */
function rewrite(at: WalCalls, name: string, change: (header: WalFileHeader) => WalFileHeader, suffix?: string): void {
  const path = fileOf(at, name, suffix)
  const bytes = readFileSync(path)
  const { header, length } = parseWalHeader(bytes, 'test', { name, systemIdentifier: system })
  writeFileSync(path, Buffer.concat([formatWalHeader(change(header)), bytes.subarray(length)]))
}

/** Stores a segment sealed to the repository's public key and signed by nobody, as an earlier version or an intruder does. */
async function storeUnsigned({ at, repository }: Place, number: number, epochAt = -1): Promise<string> {
  const [name = ''] = at.ready([number])
  const opened = await openRepository(repository)
  const epoch = (await readOwnEpochs(opened.storage, opened.id)).at(epochAt)
  if (epoch === undefined) throw new Error('the repository is not encrypted')
  const writing = { epoch: epoch.id, sealingKey: epoch.sealing_key, identity: null, signer: null }
  const times = { closedAt: new Date(0), now: new Date(0) }
  await opened
    .source('main')
    .wal(system, { ...unsealed, writing })
    .put(name, at.plain(name), times)
  return name
}

describe('a signed archive', () => {
  it('gives back what its host archived, histories too, without the state of that host', async () => {
    const here = await encryptedPlace()
    const [first = ''] = await archive(here, [1])
    await archiveHistory(here)
    await fetchAnywhere(here, first)
    await fetchAnywhere(here, history)
    expect(here.at.plain('RECOVERYXLOG').toString()).toContain('no recovery target')
    expect(here.warnings).toEqual([])
    for (const name of [first, history]) expect(await recovered(here, name), name).toBe(0)
    expect(await verified(here)).toMatchObject({ [`wal/${system}/00000001`]: 'ok', [`wal/${system}/00000002`]: 'ok' })
  })

  it('gives nothing that was sealed to its public key by somebody else, and verify names it', async () => {
    const here = await encryptedPlace()
    await archive(here, [1])
    const forged = await storeUnsigned(here, 2)
    await expect(fetchAnywhere(here, forged)).rejects.toMatchObject({
      ...untrusted,
      message: expect.stringContaining('signed by nobody'),
    })
    expect(await verified(here)).toMatchObject({ [`wal/${system}/00000001`]: 'damaged' })
    expect(existsSync(here.at.wal('RECOVERYXLOG'))).toBe(false)
    expect(await recovered(here, forged)).toBe(126)
    expect(await recovered(here, forged, '--untrusted')).toBe(0)
  })

  it('gives nothing of a host that nobody vouches for, until somebody does', async () => {
    const here = await encryptedPlace()
    const stranger = { ...here.context, keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'state') }
    const [first = ''] = here.at.ready([1])
    await here.at.archiveFile(first, { ahead: null }, stranger)
    expect(here.warnings.join()).toContain('nobody has vouched')
    await expect(fetchAnywhere(here, first)).rejects.toMatchObject({
      ...untrusted,
      message: expect.stringContaining('for which nobody has vouched'),
    })
    expect(await verified(here)).toMatchObject({ [`wal/${system}/00000001`]: 'damaged' })
    const { id } = await hostSigner(stranger)
    expect(await concernsOf(here, first)).toMatchObject([
      { code: 'wal_untrusted', hint: expect.stringContaining(`nexus-backup keys trust ${id} --repo `) },
    ])
    expect(await concernsOf(here, 'FFFFFFFF0000000000000001')).toEqual([])
    const [second = ''] = await archive(here, [2])
    const stored = fileOf(here.at, second)
    const sound = readFileSync(stored)
    writeFileSync(stored, 'garbage')
    expect(await concernsOf(here, second)).toMatchObject([{ message: expect.stringContaining('is damaged') }])
    writeFileSync(stored, sound)
    await trustHost(here.context, here.journal, { repository: here.repository, id, dryRun: false })
    expect(await concernsOf(here, first)).toEqual([])
    await fetchAnywhere(here, first)
  })

  it.each<[string, (header: WalFileHeader) => WalFileHeader]>([
    ['a changed time', header => ({ ...header, archived_at: '2025-01-01T00:00:00.000Z' })],
    ['another signature', header => ({ ...header, signature: Buffer.alloc(64, 1).toString('base64') })],
    ['an unknown signer', header => ({ ...header, signer: '0123456789abcdef' })],
    ['no signature', ({ signature: _signature, signer: _signer, ...header }) => header],
  ])('refuses a history and a segment with %s', async (_what, change) => {
    const here = await encryptedPlace()
    const [first = ''] = await archive(here, [1])
    await archiveHistory(here)
    rewrite(here.at, first, change)
    rewrite(here.at, history, change, '.zst')
    await expect(fetchAnywhere(here, first)).rejects.toMatchObject(untrusted)
    await expect(fetchAnywhere(here, history)).rejects.toMatchObject(untrusted)
    for (const name of [first, history]) expect(await recovered(here, name), name).toBe(126)
    expect(Object.values(await verified(here))).toEqual(['damaged', 'damaged'])
  })

  it('gives nothing in plain, whether the sealed file is still there or not, and no forged history', async () => {
    const here = await encryptedPlace()
    const [first = ''] = await archive(here, [1])
    const other = await place()
    await archive(other, [1, 2])
    await archiveHistory(other)
    const bytes = readFileSync(fileOf(here.at, first))
    for (const name of [first, '000000010000000000000002']) {
      copyFileSync(fileOf(other.at, name, '.zst'), fileOf(here.at, name, '.zst'))
    }
    mkdirSync(dirname(fileOf(here.at, history)))
    copyFileSync(fileOf(other.at, history, '.zst'), fileOf(here.at, history, '.zst'))
    await fetchAnywhere(here, first)
    await expect(fetchAnywhere(here, '000000010000000000000002')).rejects.toMatchObject(untrusted)
    await expect(fetchAnywhere(here, history)).rejects.toMatchObject(untrusted)
    for (const name of [history, '000000010000000000000002']) expect(await recovered(here, name), name).toBe(126)
    rmSync(fileOf(here.at, first))
    await expect(fetchAnywhere(here, first)).rejects.toMatchObject(untrusted)
    writeFileSync(fileOf(here.at, first), bytes)
    // With the keys taken away the host still remembers that there were some.
    rmSync(join(here.at.repository, keysDirectory), { recursive: true })
    const remembered = here.at.fetchFile('000000010000000000000002', { ahead: null }, here.context)
    await expect(remembered).rejects.toMatchObject(untrusted)
  })

  it('gives nothing that was signed with a key that is distrusted', async () => {
    const here = await encryptedPlace()
    const [first = ''] = await archive(here, [1])
    await archiveHistory(here)
    const { id } = await hostSigner(here.context)
    await distrustHost(here.context, here.journal, { repository: here.repository, id, all: false, dryRun: false })
    for (const name of [first, history]) {
      await expect(fetchAnywhere(here, name)).rejects.toMatchObject({
        ...untrusted,
        message: expect.stringContaining('which is distrusted since'),
      })
      expect(await recovered(here, name), name).toBe(126)
      expect(await recovered(here, name, '--untrusted'), name).toBe(0)
    }
    expect(Object.values(await verified(here))).toEqual(['damaged', 'damaged'])
  })

  it('refuses to archive what it could not give back: where this host can keep no key to sign with', async () => {
    const here = await encryptedPlace()
    const [first = ''] = here.at.ready([1])
    const inTheWay = join(temporaryDirectory(), 'state')
    writeFileSync(inTheWay, '')
    const archiving = here.at.archiveFile(first, { ahead: null }, { ...here.context, stateDirectory: inTheWay })
    await expect(archiving).rejects.toMatchObject({ kind: 'refused', code: 'wal_unsigned' })
    expect(existsSync(fileOf(here.at, first))).toBe(false)
  })
})

describe('an archive that was not signed from the beginning', () => {
  it('gives back what was archived in plain before there were keys, and nothing that lies beyond', async () => {
    const here = await place()
    const before = await archive(here, [1, 2])
    await here.encrypt()
    const [after = ''] = await archive(here, [3])
    for (const name of [...before, after]) {
      await fetchAnywhere(here, name)
      expect(await recovered(here, name), name).toBe(0)
    }
    const other = await place()
    // A later timeline, and 4 GiB further on.
    for (const name of ['000000020000000000000002', '0000000100000002000000FF']) {
      mkdirSync(dirname(fileOf(here.at, name)), { recursive: true })
      const [real = ''] = await archive(other, [7])
      const bytes = readFileSync(fileOf(other.at, real, '.zst'))
      const { header, length } = parseWalHeader(bytes, 'test', { name: real, systemIdentifier: system })
      const head = formatWalHeader({ ...header, name, archived_at: '2025-01-01T00:00:00.000Z' })
      writeFileSync(fileOf(here.at, name, '.zst'), Buffer.concat([head, bytes.subarray(length)]))
      await expect(fetchAnywhere(here, name)).rejects.toMatchObject(untrusted)
      rmSync(fileOf(other.at, real, '.zst'))
    }
  })

  it('of an earlier version gives back what is sealed and not signed, until its keys are rotated', async () => {
    const here = await encryptedPlace()
    await forgetReach(here)
    const old = await storeUnsigned(here, 1)
    await fetchAnywhere(here, old)
    // A host for which nobody vouches counts no less than one that does not sign.
    const [byStranger = ''] = here.at.ready([2])
    const stranger = { ...here.context, stateDirectory: join(temporaryDirectory(), 'state') }
    await here.at.archiveFile(byStranger, { ahead: null }, stranger)
    await fetchAnywhere(here, byStranger)
    await rotateKeys(here.context, here.journal, { repository: here.repository, without: [], dryRun: false })
    await fetchAnywhere(here, old)
    for (const epochAt of [0, -1]) {
      const late = await storeUnsigned({ ...here }, 70_000 - epochAt, epochAt)
      await expect(fetchAnywhere(here, late), `epoch ${epochAt}`).rejects.toMatchObject(untrusted)
      expect(await recovered(here, late), `epoch ${epochAt}`).toBe(126)
    }
  })
})

/** Makes the first epoch one of an earlier version, which says nothing of WAL. */
async function forgetReach({ repository, key }: Place): Promise<void> {
  const { storage, id } = await openRepository(repository)
  const [epoch] = await readOwnEpochs(storage, id)
  if (epoch === undefined) throw new Error('the repository is not encrypted')
  await asOfOldVersion(storage, epoch, await accessWith(key).open(storage, epoch.id))
}

describe('a recovery that takes what is not ours on demand', () => {
  const fetchUntrusted = ({ at, context }: Place, name: string) =>
    at.fetchFile(name, { ahead: null, untrusted: true }, context)

  it('fetches the WAL of a stranger, of a key that is distrusted, and what nobody signed, and warns of each', async () => {
    const here = await encryptedPlace()
    const [ours = '', second = ''] = await archive(here, [1, 2])
    const other = { ...here, context: { ...here.context, stateDirectory: join(temporaryDirectory(), 'state') } }
    const [strangers = ''] = await archive(other, [3])
    const unsigned = await storeUnsigned(here, 4)
    rewrite(here.at, second, header => ({ ...header, signature: Buffer.alloc(64, 1).toString('base64') }))
    for (const name of [second, strangers, unsigned]) {
      here.warnings.length = 0
      await fetchUntrusted(here, name)
      expect(here.at.plain('RECOVERYXLOG').equals(here.at.plain(name))).toBe(true)
      expect(here.warnings).toEqual([
        expect.stringMatching(new RegExp(`^${name} .*; it is taken because --untrusted says so$`)),
      ])
      await expect(fetchAnywhere(here, name)).rejects.toMatchObject(untrusted)
    }
    here.warnings.length = 0
    await fetchUntrusted(here, ours)
    expect(here.warnings).toEqual([])
    await distrustHost(here.context, here.journal, {
      repository: here.repository,
      id: (await hostSigner(here.context)).id,
      all: true,
      dryRun: false,
    })
    await expect(fetchAnywhere(here, ours)).rejects.toMatchObject(untrusted)
    await fetchUntrusted(here, ours)
    expect(here.warnings.join()).toContain('is distrusted since')
  })

  it('stops before what is damaged all the same', async () => {
    const here = await encryptedPlace()
    const [name = ''] = await archive(here, [1])
    const bytes = readFileSync(fileOf(here.at, name))
    bytes[bytes.length - 40] = (bytes[bytes.length - 40] ?? 0) ^ 1
    writeFileSync(fileOf(here.at, name), bytes)
    await expect(fetchUntrusted(here, name)).rejects.toMatchObject({ kind: 'damage', code: 'wal_damaged' })
  })
})

it('names for each file that is not ours what helps against it, and never keys trust for a key that it refuses', async () => {
  const here = await encryptedPlace()
  const [first = '', second = ''] = await archive(here, [1, 2])
  const other = { ...here, context: { ...here.context, stateDirectory: join(temporaryDirectory(), 'state') } }
  const [strangers = ''] = await archive(other, [3])
  const unsigned = await storeUnsigned(here, 4)
  rewrite(here.at, second, header => ({ ...header, signature: Buffer.alloc(64, 1).toString('base64') }))
  const hintOf = async (name: string) => (await concernsOf(here, name))[0]?.hint ?? ''
  expect(await hintOf(strangers)).toContain(`keys trust ${(await hostSigner(other.context)).id} --repo`)
  for (const name of [second, unsigned])
    expect(await hintOf(name)).toMatch(/^see what else is not ours: nexus-backup verify main --repo /)
  const id = (await hostSigner(here.context)).id
  await distrustHost(here.context, here.journal, { repository: here.repository, id, all: true, dryRun: false })
  expect(await hintOf(first)).toContain("move keys/signing-key out of the state directory of the server's user")
  expect(await hintOf(first)).not.toContain('keys trust')
  // The archiver of that user is told the same.
  here.warnings.length = 0
  await archive(here, [5])
  expect(here.warnings.join()).toContain('is distrusted since')
  expect(here.warnings.join()).not.toContain('keys trust')
})
