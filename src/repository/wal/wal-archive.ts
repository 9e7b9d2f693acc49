import { messageOf, NexusError } from '../../errors.js'
import { keysDirectory } from '../keys/key-layout.js'
import type { Signer } from '../sealed/sealed-manifest.js'
import type { SequentialReader, Storage } from '../storage/storage.js'
import { type Packed, packed, sha256Of, unpacked } from './pack.js'
import type { WalArchive } from './types.js'
import {
  formatWalHeader,
  parseWalHeader,
  signedWalHeader,
  type WalFileHeader,
  walDamaged,
  walHeaderLimit,
} from './wal-file.js'
import { systemDirectory, timelineDirectory, timelineOf, type WalForm, walNameOf, walPath } from './wal-layout.js'
import { archived, damageInArchive, differs, notOurs, orNone, unknowable } from './wal-refusals.js'
import { isMarkedAs, openWal, sealWal, unsealed, type WalSeal } from './wal-seal.js'

/** Bytes of the largest segment, and what compression may add to them. */
const largestStored = 1024 * 1024 * 1024 * 1.01

/** Bytes that a segment of the usual size takes at most. */
const USUAL_STORED = 17 * 1024 * 1024

/** A writer that takes longer for one file has died. */
const LEFTOVER_AGE_MS = 3_600_000

/**
 * The log of one system in a source's room; its directory need not exist yet. Throws `usage` for no system identifier.
 * @param seal how files are sealed and opened; without it they are stored in plain, and sealed ones cannot be read
 */
export function walArchive(
  storage: Storage,
  source: string,
  systemIdentifier: string,
  seal: WalSeal = unsealed,
): WalArchive {
  const directory = systemDirectory(source, systemIdentifier)
  // Forms in the order in which they are looked for: what this repository writes comes first.
  const forms: readonly WalForm[] = seal.writing === null ? ['plain', 'sealed'] : ['sealed', 'plain']
  const pathOf = (name: string, form: WalForm) => `${directory}/${walPath(name, form)}`
  const pathsOf = (names: readonly string[]) => names.flatMap(name => forms.map(form => pathOf(name, form)))
  const where = (name: string, form: WalForm) => storage.displayed(pathOf(name, form))
  /** Forms of files that this process has put or found. */
  const placed = new Map<string, WalForm>()
  let isGroundDurable = false
  let sealedFirst: Promise<boolean> | undefined
  let keysThere: Promise<boolean> | undefined

  /**
   * Whoever may add files but replace none can put one in plain beside a sealed one: where there are keys, the sealed one
   * counts for those who only read too.
   */
  function isSealedFirst(): Promise<boolean> {
    sealedFirst ??= seal.writing === null ? hasKeys() : Promise.resolve(true)
    return sealedFirst
  }

  function hasKeys(): Promise<boolean> {
    keysThere ??= storage.list(keysDirectory).then(found => found.length > 0)
    return keysThere
  }

  /** A file in the form that it has; a sealed one before one in plain. */
  async function found<T>(name: string, look: (path: string) => Promise<T>): Promise<{ what: T; form: WalForm }> {
    const [first = 'plain', second = 'sealed'] = (await isSealedFirst()) ? ['sealed', 'plain'] : forms
    try {
      return { what: await look(pathOf(name, first)), form: first }
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'not-found') throw error
    }
    return { what: await archived(name, look(pathOf(name, second))), form: second }
  }

  /** @param expected bytes that will be read at least: a store is asked for as many at once */
  async function opened(name: string, expected: number): Promise<{ reader: SequentialReader; form: WalForm }> {
    const { what: reader, form } = await found(name, path => storage.openRead(path, expected))
    return { reader, form }
  }

  async function headOf(name: string): Promise<{ header: WalFileHeader; form: WalForm }> {
    const { reader, form } = await opened(name, walHeaderLimit)
    try {
      const head = await reader.read(walHeaderLimit)
      return { header: parsed(head, name, form).header, form }
    } finally {
      await reader.close()
    }
  }

  function parsed(bytes: Buffer, name: string, form: WalForm): { header: WalFileHeader; length: number } {
    const found = parseWalHeader(bytes, where(name, form), { name, systemIdentifier })
    const isSealed = found.header.encryption !== undefined
    if (isSealed !== (form === 'sealed')) throw walDamaged(where(name, form), 'it is not stored as its name says')
    return found
  }

  /** A stored file, its stored bytes compared with its header. */
  async function stored(name: string): Promise<{ header: WalFileHeader; bytes: Buffer; form: WalForm }> {
    const { reader, form } = await opened(name, USUAL_STORED)
    try {
      if (reader.size > largestStored) throw walDamaged(where(name, form), `it has ${reader.size} bytes`)
      return { ...checked(await reader.read(reader.size), name, form), form }
    } finally {
      await reader.close()
    }
  }

  async function read(name: string, room?: Buffer): Promise<{ header: WalFileHeader; plain: Buffer }> {
    const { header, bytes, form } = await stored(name)
    await assertOurs(header, form)
    return { header, plain: await plainOf(header, bytes, { where: where(name, form), room }) }
  }

  /** @throws NexusError damage `wal_untrusted` */
  async function assertOurs(header: WalFileHeader, form: WalForm): Promise<void> {
    const problem = await seal.judge?.({ source, header, hasKeys })
    if (problem !== undefined) throw notOurs(where(header.name, form), problem)
  }

  async function plainOf(
    header: WalFileHeader,
    bytes: Buffer,
    { where, room }: { where: string; room: Buffer | undefined },
  ): Promise<Buffer> {
    const packed = header.encryption === undefined ? bytes : await openWal(seal, header, bytes)
    if (packed === undefined) throw walDamaged(where, 'it does not open: it was changed, or sealed for something else')
    return verified(packed, header, { where, room })
  }

  async function storedFile(name: string): Promise<Buffer> {
    const { reader, form } = await opened(name, USUAL_STORED)
    try {
      if (reader.size > largestStored) throw walDamaged(where(name, form), `it has ${reader.size} bytes`)
      const bytes = await reader.read(reader.size)
      await assertOurs(checked(bytes, name, form).header, form)
      return bytes
    } finally {
      await reader.close()
    }
  }

  /** The head of a stored file whose bytes are those that it names. */
  function checked(bytes: Buffer, name: string, form: WalForm): { header: WalFileHeader; bytes: Buffer } {
    const { header, length } = parsed(bytes, name, form)
    const rest = bytes.subarray(length)
    if (sha256Of(rest) !== header.stored_sha256) throw walDamaged(where(name, form), 'its bytes were changed')
    return { header, bytes: rest }
  }

  async function putStoredFile(name: string, bytes: Buffer): Promise<'stored' | 'identical'> {
    const { header } = parseWalHeader(bytes, where(name, 'plain'), { name, systemIdentifier })
    const form = header.encryption === undefined ? 'plain' : 'sealed'
    checked(bytes, name, form)
    const path = pathOf(name, form)
    try {
      await storage.writeOnce(path, bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
      const present = await damageInArchive(name, () => storedFile(name))
      if (!present.equals(bytes)) throw differs(name, where(name, form), header)
      return 'identical'
    }
    if (!isGroundDurable) await storage.persist(path)
    isGroundDurable = true
    return 'stored'
  }

  async function put(
    name: string,
    plain: Uint8Array,
    { closedAt, now, pack }: Parameters<WalArchive['put']>[2],
  ): Promise<'stored' | 'identical'> {
    if (await isThere(name, plain)) return 'identical'
    const done = pack === undefined ? packed(plain) : await pack(plain)
    const known = {
      name,
      system_identifier: systemIdentifier,
      bytes: plain.byteLength,
      archived_at: now.toISOString(),
      closed_at: closedAt.toISOString(),
    }
    const sealing = isOpenToAll(name) ? null : seal.writing
    const form = sealing === null ? 'plain' : 'sealed'
    const path = pathOf(name, form)
    const signer = seal.writing?.signer ?? null
    const { header, stored: rest } =
      sealing === null ? inPlain(done, known, signer) : await sealWal(sealing, known, done)
    try {
      await storage.writeOnce(path, Buffer.concat([formatWalHeader(header), rest]))
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
      // Another server of the same system was faster.
      if (await isThere(name, plain)) return 'identical'
      throw error
    }
    // Directories may be of a run that was killed before it had made them durable.
    if (!isGroundDurable) await storage.persist(path)
    isGroundDurable = true
    placed.set(name, form)
    return 'stored'
  }

  /** Whether the very same content is there, which is then made durable; false when nothing is. */
  async function isThere(name: string, plain: Uint8Array): Promise<boolean> {
    const present = await orNone(damageInArchive(name, () => stored(name)))
    if (present === undefined) return false
    const { header, bytes, form } = present
    const isSame =
      header.bytes === plain.byteLength &&
      (isMarkedAs(seal.writing, header, sha256Of(plain)) ?? (await holds(header, bytes, plain, form)))
    if (!isSame) throw differs(name, where(name, form), header)
    await storage.persist(pathOf(name, form))
    placed.set(name, form)
    return true
  }

  async function holds(header: WalFileHeader, bytes: Buffer, plain: Uint8Array, form: WalForm): Promise<boolean> {
    const { name } = header
    try {
      const there = await damageInArchive(name, () =>
        plainOf(header, bytes, { where: where(name, form), room: undefined }),
      )
      return there.equals(plain)
    } catch (error) {
      if (!(error instanceof NexusError) || (error.code !== 'key_missing' && error.code !== 'key_wrong')) throw error
      throw unknowable(name, where(name, form), error)
    }
  }

  async function timelines(): Promise<number[]> {
    const found = await storage.list(directory)
    return found
      .flatMap(({ name, kind }) => (kind === 'directory' ? [timelineOf(name)] : []))
      .filter(timeline => timeline !== undefined)
      .sort((a, b) => a - b)
  }

  async function namesOf(timeline: number): Promise<string[]> {
    const below = timelineDirectory(timeline)
    const found = await storage.list(`${directory}/${below}`)
    return [...new Set(found.flatMap(({ name }) => walNameOf(below, name) ?? []))]
  }

  return {
    systemIdentifier,
    put,
    read,
    storedFile,
    putStoredFile,
    async check(name) {
      const { header, form } = await stored(name)
      await assertOurs(header, form)
    },
    header: async name => (await headOf(name)).header,
    async headerOfOurs(name) {
      const { header, form } = await headOf(name)
      await assertOurs(header, form)
      return header
    },
    timelines,
    async names(timeline) {
      const wanted = timeline === undefined ? await timelines() : [timeline]
      return (await Promise.all(wanted.map(namesOf))).flat().sort()
    },
    isPlain: async name => (await orNone(archived(name, storage.sizeOf(pathOf(name, 'plain'))))) !== undefined,
    storedBytes: async name => (await found(name, path => storage.sizeOf(path))).what,
    extendLocks: names => storage.extendFileLocks(pathsOf(names)),
    async lockedUntil(names) {
      const dates = await storage.filesLockedUntil(pathsOf(names))
      const untilOf = (at: number) => dates.slice(at * forms.length, (at + 1) * forms.length).find(until => until)
      return new Map(names.map((name, at) => [name, untilOf(at)] as const).filter(isLocked))
    },
    remove: names => storage.removeFiles(pathsOf(names)),
    async removeLeftovers(name, now) {
      const parent = pathOf(name, 'plain')
      await storage.removeLeftovers(parent.slice(0, parent.lastIndexOf('/')), new Date(now.getTime() - LEFTOVER_AGE_MS))
    },
    localPath: name => storage.localPath(pathOf(name, placed.get(name) ?? forms[0] ?? 'plain')),
  }
}

function isLocked(entry: readonly [string, Date | undefined]): entry is readonly [string, Date] {
  return entry[1] !== undefined
}

/**
 * Histories hold nothing but the numbers of timelines and where they part: prune and the choice of a base need them, also
 * where there is no key.
 */
function isOpenToAll(name: string): boolean {
  return name.endsWith('.history')
}

/** What is stored of a file that is not sealed. */
function inPlain(
  { sha256, stored, storedSha256 }: Packed,
  known: Omit<WalFileHeader, 'format' | 'sha256' | 'stored_sha256' | 'encryption'>,
  signer: Signer | null,
): { header: WalFileHeader; stored: Uint8Array } {
  const header = { format: 1 as const, ...known, sha256, stored_sha256: storedSha256 }
  return { header: signer === null ? header : signedWalHeader(header, signer), stored }
}

function verified(
  packed: Buffer,
  header: WalFileHeader,
  { where, room }: { where: string; room: Buffer | undefined },
): Buffer {
  let plain: Buffer
  try {
    plain = unpacked(packed, header.bytes, room)
  } catch (cause) {
    throw walDamaged(where, messageOf(cause), cause)
  }
  // What was sealed is what was archived: every frame has proven it.
  if (header.sha256 !== undefined && sha256Of(plain) !== header.sha256) {
    throw walDamaged(where, 'its content is not what was archived')
  }
  return plain
}
