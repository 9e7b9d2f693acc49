import { messageOf, NexusError } from '../../errors.js'
import { type Distrust, readDistrust } from '../keys/distrust-file.js'
import { type Epoch, fingerprintOf, follows } from '../keys/epoch.js'
import { type HostDocument, isVouchedFor, readHost } from '../keys/host-file.js'
import {
  epochFile,
  isSignerId,
  type KeyReader,
  keyFileLimit,
  keysDirectory,
  vouchDirectory,
} from '../keys/key-layout.js'
import { type EpochPin, ownAmong, readEpochs } from '../keys/key-room.js'
import type { Manifest } from '../manifest.js'
import { isSignedBy } from '../sealed/sealed-manifest.js'
import { attesterOf, attests, readAttestations } from './attestation.js'

/** What is known of epochs beside what the repository says. */
export interface KnownEpochs {
  /** The epoch that this host knows of a repository, by that one's id. */
  pin(repository: string): Promise<EpochPin | undefined>
  /** Fingerprints in the configuration: where there are any, no line without one of them counts. */
  fingerprints: readonly string[]
  /** Epochs that count anyhow: in a copy, those that count where it comes from. */
  also: readonly Epoch[]
  /** Why this host believes no keys that it sees there for the first time; undefined where it does. */
  replaced?: string | undefined
}

/** What a signature is worth. */
export type Signature =
  | { trust: 'ours'; line: readonly Epoch[] }
  /**
   * It holds, but no epoch that counts vouches for who signed; or one does, and what was signed is sealed to `sealedTo`, an
   * epoch of other keys.
   */
  | { trust: 'stranger'; host: string; signer: string; sealedTo?: string }
  | { trust: 'badly-signed'; problem: string }

/**
 * Whose word counts in a repository: its own line of epochs, and lines that came with copies as far as the configuration pins
 * them, this host knows them, or a copy attested them. Anybody who may write can put an epoch of his own beside them, and
 * let it vouch for his key. Everything is read once; what is damaged has no word.
 */
export class Keyring {
  /** The repository's own line; empty where it has none that counts. */
  readonly own: readonly Epoch[]
  /** What is wrong with the keys, for warnings. */
  readonly problems: readonly string[]
  /** Whether the repository has, or this host knows it to have had, keys of its own. */
  readonly isEncrypted: boolean
  readonly #storage: KeyReader
  readonly #repository: string
  readonly #known: KnownEpochs
  /** Connected epochs that are not the repository's own. */
  readonly #foreign: readonly (readonly Epoch[])[]
  readonly #bySource = new Map<string, Promise<readonly (readonly Epoch[])[]>>()
  readonly #hosts = new Map<string, Promise<HostDocument | string>>()
  readonly #distrusts = new Map<string, Promise<Distrust | undefined>>()
  readonly #vouches = new Map<string, Promise<boolean>>()
  readonly #words = new Map<string, Promise<ReadonlySet<string>>>()
  /** Times that the keys may be read again. */
  #rereads = REREADS
  #later: Promise<Keyring> | undefined

  private constructor(
    place: { storage: KeyReader; repository: string },
    known: KnownEpochs,
    found: { own: readonly Epoch[]; foreign: readonly (readonly Epoch[])[]; problems: string[]; isEncrypted: boolean },
  ) {
    this.#storage = place.storage
    this.#repository = place.repository
    this.#known = known
    this.own = found.own
    this.#foreign = found.foreign
    this.problems = found.problems
    this.isEncrypted = found.isEncrypted
  }

  static async load(storage: KeyReader, repository: string, known: KnownEpochs): Promise<Keyring> {
    const problems: string[] = []
    const told = (error: NexusError) => void problems.push(error.message)
    const pin = await known.pin(repository)
    const epochs = await readEpochs(storage, told)
    // Without any epoch there is nothing that could name the first one: that is the plain repository.
    const line = epochs.length === 0 ? [] : await ownAmong(storage, epochs, repository, told)
    const problem = known.replaced ?? ownProblem(line, pin, known.fingerprints)
    if (problem !== undefined) problems.push(problem)
    const own = problem === undefined ? line : []
    const others = epochs.filter(epoch => epoch.repository !== repository)
    const isEncrypted = line.length > 0 || pin !== undefined || known.replaced !== undefined
    return new Keyring({ storage, repository }, known, { own, foreign: linesAmong(others), problems, isEncrypted })
  }

  /** Lines beside its own that count for a source. */
  linesOf(source: string): Promise<readonly (readonly Epoch[])[]> {
    const known = this.#bySource.get(source) ?? this.#linesOf(source)
    this.#bySource.set(source, known)
    return known
  }

  /** Lines that the repository itself attests for a source, whatever this host knows besides. */
  async attestedLines(source: string): Promise<readonly (readonly Epoch[])[]> {
    const attestations = await this.#attestations(source)
    return this.#foreign.filter(line => attestations.some(one => attests(one, line)))
  }

  /** What the signature of an encrypted backup is worth; no key is needed. */
  async signatureOf(manifest: Manifest, encryption: NonNullable<Manifest['encryption']>): Promise<Signature> {
    const { signer, epoch } = encryption
    const holds = ({ signing_key: key }: HostDocument) => isSignedBy(manifest, encryption, key)
    return this.judge({ signer, source: manifest.source, epoch }, holds)
  }

  /**
   * What a signature on something of a source is worth. A host signs with one key wherever it writes: what is sealed must be
   * sealed to the line of epochs that vouches for the key, or it was made for another repository.
   * @param signed.epoch what it is sealed to; undefined for what is in plain
   * @param holds whether it was made with the key of this host
   */
  async judge(
    signed: { signer: string; source: string; epoch: string | undefined },
    holds: (host: HostDocument) => boolean,
  ): Promise<Signature> {
    const { signer, source, epoch } = signed
    const [host] = await Promise.all([this.#host(signer), isSignerId(signer) ? this.#wordsFor(signer) : undefined])
    if (typeof host === 'string') return { trust: 'badly-signed', problem: host }
    if (!holds(host)) return { trust: 'badly-signed', problem: 'its signature does not hold' }
    const vouching: (readonly Epoch[])[] = []
    for (const line of [this.own, ...(await this.linesOf(source)), this.#known.also]) {
      if (await this.isVouched(host, line)) vouching.push(line)
    }
    const line = vouching.find(members => epoch === undefined || members.some(({ id }) => id === epoch))
    if (line !== undefined) return { trust: 'ours', line }
    const later = await this.#readAgain(vouching.length === 0 ? undefined : epoch)
    if (later !== undefined) return later.judge(signed, holds)
    const stranger = { trust: 'stranger' as const, host: host.host, signer }
    if (vouching.length === 0 || epoch === undefined) return stranger
    // Where keys are damaged, an epoch may be missing that is one of ours.
    if (this.problems.length > 0) {
      return { trust: 'badly-signed', problem: `is sealed to ${epoch}, which is not among the keys that are left` }
    }
    return { ...stranger, sealedTo: epoch }
  }

  /**
   * The keys as they are now: a host may have been let in, or the keys rotated, since they were read.
   * @param epoch that is missing among those that were read; undefined where it is a word for a host that is missing
   * @returns undefined where nothing more is to be found
   */
  async #readAgain(epoch: string | undefined): Promise<Keyring | undefined> {
    const isWorthIt = epoch === undefined ? this.#rereads === REREADS : this.#rereads > 0
    if (!isWorthIt || (epoch !== undefined && !(await isThere(this.#storage, epochFile(epoch))))) return undefined
    this.#later ??= Keyring.load(this.#storage, this.#repository, this.#known)
    const later = await this.#later
    later.#rereads = this.#rereads - 1
    return later
  }

  /** Whether there are any epochs here, of its own or of copies, that could vouch for anybody. */
  get hasLines(): boolean {
    return this.isEncrypted || this.#foreign.length > 0
  }

  /**
   * Whether a key counts for the repository as a whole: the repository's own epochs vouch for it, or where it has none, those
   * of the copies in it.
   * @param holds whether what it signed was signed with the key of this host
   */
  async countsAnywhere(
    signer: string,
    holds: (host: HostDocument) => boolean,
    sources: () => Promise<string[]>,
  ): Promise<boolean> {
    const host = await this.#host(signer)
    if (typeof host === 'string' || !holds(host)) return false
    if (this.isEncrypted) return this.isVouched(host, this.own)
    for (const source of await sources()) {
      for (const line of await this.linesOf(source)) if (await this.isVouched(host, line)) return true
    }
    return false
  }

  /** Whether the repository's own epochs vouch for a key. */
  async vouchesFor(signer: string): Promise<boolean> {
    const host = await this.#host(signer)
    return typeof host !== 'string' && (await this.isVouched(host, this.own))
  }

  /** The raw Ed25519 key of a host for which the epochs that count for a source vouch; undefined for any other. */
  async keyOf(source: string, signer: string): Promise<Buffer | undefined> {
    const host = await this.#host(signer)
    if (typeof host === 'string') return undefined
    for (const line of [this.own, ...(await this.linesOf(source)), this.#known.also]) {
      if (await this.isVouched(host, line)) return host.signing_key
    }
    return undefined
  }

  /** Whether the epochs that count for a source vouch for a key. */
  async believes(signer: string, source: string): Promise<boolean> {
    return (await this.keyOf(source, signer)) !== undefined
  }

  async #linesOf(source: string): Promise<(readonly Epoch[])[]> {
    if (this.#foreign.length === 0) return []
    const attestations = await this.#attestations(source)
    const { fingerprints } = this.#known
    const candidates: { line: readonly Epoch[]; isKnown: boolean; isConfigured: boolean; isAttested: boolean }[] = []
    for (const line of this.#foreign) {
      const [first] = line
      const pin = first === undefined ? undefined : await this.#known.pin(first.repository)
      if (pin !== undefined && !line.some(epoch => isPinned(epoch, pin))) continue
      const isConfigured = line.some(epoch => fingerprints.includes(fingerprintOf(epoch)))
      const isAttested = attestations.some(one => attests(one, line))
      candidates.push({ line, isKnown: pin !== undefined, isConfigured, isAttested })
    }
    // A host may know several repositories: that it knows a line does not say that the copies of this source come from there.
    const isTold = this.own.length > 0 || candidates.some(({ isKnown, isAttested }) => isKnown && isAttested)
    const counts = ({ isKnown, isConfigured, isAttested }: (typeof candidates)[number]) =>
      isConfigured || (isAttested ? isKnown || fingerprints.length === 0 : isKnown && !isTold)
    return candidates.filter(counts).map(({ line }) => line)
  }

  /**
   * What counts of a source's attestations: in a repository with keys of its own, those of hosts that they vouch for;
   * in one without, the first, which nobody who can only add files comes before, and others by the same host.
   */
  async #attestations(source: string) {
    const found = await readAttestations(this.#storage, this.#repository, source)
    if (!this.isEncrypted) {
      const [first] = found
      return found.filter(one => first !== undefined && attesterOf(one) === attesterOf(first))
    }
    const counted: typeof found = []
    for (const one of found) if (await this.vouchesFor(attesterOf(one))) counted.push(one)
    return counted
  }

  #host(signer: string): Promise<HostDocument | string> {
    const known = this.#hosts.get(signer) ?? this.#readHost(signer)
    this.#hosts.set(signer, known)
    return known
  }

  async #readHost(signer: string): Promise<HostDocument | string> {
    try {
      return (await readHost(this.#storage, signer)) ?? `was signed with the key ${signer}, which nobody knows`
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      return `was signed with the key ${signer}: ${messageOf(error)}`
    }
  }

  /** Whether one of these epochs vouches for a host's key, and none has given its word against it. */
  async isVouched(host: HostDocument, line: readonly Epoch[]): Promise<boolean> {
    return (await this.#hasVouch(host, line)) && (await this.#distrust(host, line)) === undefined
  }

  /**
   * What the epochs that count for a source say against a key that they once vouched for; undefined where they say nothing.
   * What was signed with it counts only where that spares it.
   * @param source undefined: the repository's own epochs are asked alone
   */
  async distrustOf(
    signer: string,
    source: string | undefined,
  ): Promise<{ line: readonly Epoch[]; word: Distrust } | undefined> {
    const host = await this.#host(signer)
    if (typeof host === 'string') return undefined
    for (const line of [this.own, ...(source === undefined ? [] : await this.linesOf(source))]) {
      const word = (await this.#hasVouch(host, line)) ? await this.#distrust(host, line) : undefined
      if (word !== undefined) return { line, word }
    }
    return undefined
  }

  #distrust(host: HostDocument, line: readonly Epoch[]): Promise<Distrust | undefined> {
    const name = `${host.id} ${line.map(({ id }) => id).join(' ')}`
    const reading = async () => readDistrust(this.#storage, { host, names: await this.#wordsFor(host.id) }, line)
    const known = this.#distrusts.get(name) ?? reading()
    this.#distrusts.set(name, known)
    return known
  }

  async #hasVouch(host: HostDocument, line: readonly Epoch[]): Promise<boolean> {
    if (line.length === 0) return false
    const words = await this.#wordsFor(host.id)
    for (const epoch of line) {
      if (words.has(`${epoch.id}.json`) && (await this.#isVouchedBy(host, epoch))) return true
    }
    return false
  }

  /** Names of what epochs have written for or against a key. */
  #wordsFor(signer: string): Promise<ReadonlySet<string>> {
    const listing = async () => new Set((await this.#storage.list(vouchDirectory(signer))).map(({ name }) => name))
    const known = this.#words.get(signer) ?? listing()
    this.#words.set(signer, known)
    return known
  }

  #isVouchedBy(host: HostDocument, epoch: Epoch): Promise<boolean> {
    const name = `${host.id} ${fingerprintOf(epoch)} ${epoch.id}`
    const known = this.#vouches.get(name) ?? damagedIsNone(isVouchedFor(this.#storage, host, [epoch]))
    this.#vouches.set(name, known)
    return known
  }
}

/** Each costs as much as reading all keys: whoever adds backups must not cause one for each of them. */
const REREADS = 3

async function isThere(storage: KeyReader, name: string): Promise<boolean> {
  try {
    await storage.readSmall(name, keyFileLimit)
    return true
  } catch (error) {
    if (error instanceof NexusError && error.kind !== 'interrupted') return false
    throw error
  }
}

async function damagedIsNone(reading: Promise<boolean>): Promise<boolean> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return false
    throw error
  }
}

/** Why a repository's own line does not count; undefined where it does. */
function ownProblem(
  line: readonly Epoch[],
  pin: EpochPin | undefined,
  fingerprints: readonly string[],
): string | undefined {
  if (pin !== undefined && !line.some(epoch => isPinned(epoch, pin))) {
    const what = line.some(({ id }) => id === pin.id) ? 'was replaced' : 'is gone'
    return `${keysDirectory}: epoch ${pin.id}, which this host knows, ${what}: no other counts`
  }
  if (line.length === 0 || fingerprints.length === 0) return undefined
  if (line.some(epoch => fingerprints.includes(fingerprintOf(epoch)))) return undefined
  return `${keysDirectory}: none of the repository's own epochs is pinned in the configuration, so they do not count`
}

function isPinned({ id, signing_key }: Epoch, pin: EpochPin): boolean {
  return id === pin.id && signing_key.toString('base64') === pin.signing_key
}

/** Epochs that follow one another, oldest first; one of which nothing follows and that follows nothing is a line too. */
function linesAmong(epochs: readonly Epoch[]): Epoch[][] {
  const left = new Set(epochs)
  const lines: Epoch[][] = []
  for (const epoch of epochs) {
    if (!left.delete(epoch)) continue
    const line = [epoch]
    // The array grows while it is walked.
    for (const known of line) {
      for (const other of left) {
        const belongs = other.repository === known.repository && (follows(other, known) || follows(known, other))
        if (belongs && left.delete(other)) line.push(other)
      }
    }
    lines.push(line.sort((a, b) => (a.id < b.id ? -1 : 1)))
  }
  return lines
}
