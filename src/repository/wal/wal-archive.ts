import { messageOf, NexusError } from '../../errors.js'
import type { Storage } from '../storage/storage.js'
import { type Packed, packed, sha256Of, unpacked } from './pack.js'
import type { WalArchive } from './types.js'
import { formatWalHeader, parseWalHeader, type WalFileHeader, walDamaged, walHeaderLimit } from './wal-file.js'
import { systemDirectory, timelineDirectory, timelineOf, walNameOf, walPath } from './wal-layout.js'

/** Bytes of the largest segment, and what compression may add to them. */
const largestStored = 1024 * 1024 * 1024 * 1.01

/** A writer that takes longer for one file has died. */
const LEFTOVER_AGE_MS = 3_600_000

/** The log of one system in a source's room; its directory need not exist yet. Throws `usage` for no system identifier. */
export function walArchive(storage: Storage, source: string, systemIdentifier: string): WalArchive {
  const directory = systemDirectory(source, systemIdentifier)
  const pathOf = (name: string) => `${directory}/${walPath(name)}`
  const where = (name: string) => storage.displayed(pathOf(name))
  let isGroundDurable = false

  async function headOf(name: string): Promise<{ header: WalFileHeader; length: number; size: number }> {
    const reader = await archived(name, storage.openRead(pathOf(name)))
    try {
      const head = await reader.read(walHeaderLimit)
      return { ...parseWalHeader(head, where(name), { name, systemIdentifier }), size: reader.size }
    } finally {
      await reader.close()
    }
  }

  async function read(name: string, room?: Buffer): Promise<{ header: WalFileHeader; plain: Buffer }> {
    const reader = await archived(name, storage.openRead(pathOf(name)))
    try {
      if (reader.size > largestStored) throw walDamaged(where(name), `it has ${reader.size} bytes`)
      const bytes = await reader.read(reader.size)
      const { header, length } = parseWalHeader(bytes, where(name), { name, systemIdentifier })
      return { header, plain: verified(bytes.subarray(length), header, { where: where(name), room }) }
    } finally {
      await reader.close()
    }
  }

  async function stored(name: string): Promise<Buffer> {
    const reader = await archived(name, storage.openRead(pathOf(name)))
    try {
      if (reader.size > largestStored) throw walDamaged(where(name), `it has ${reader.size} bytes`)
      const bytes = await reader.read(reader.size)
      assertStored(name, bytes)
      return bytes
    } finally {
      await reader.close()
    }
  }

  function assertStored(name: string, bytes: Buffer): WalFileHeader {
    const { header, length } = parseWalHeader(bytes, where(name), { name, systemIdentifier })
    if (sha256Of(bytes.subarray(length)) !== header.stored_sha256)
      throw walDamaged(where(name), 'its bytes were changed')
    return header
  }

  async function putStored(name: string, bytes: Buffer): Promise<'stored' | 'identical'> {
    assertStored(name, bytes)
    try {
      await storage.writeOnce(pathOf(name), bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
      const present = await damageInArchive(name, () => stored(name))
      if (!present.equals(bytes)) throw differs(name, where(name), assertStored(name, present))
      return 'identical'
    }
    if (!isGroundDurable) await storage.persist(pathOf(name))
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
    const bytes = fileOf(done, {
      name,
      system_identifier: systemIdentifier,
      bytes: plain.byteLength,
      archived_at: now.toISOString(),
      closed_at: closedAt.toISOString(),
    })
    try {
      await storage.writeOnce(pathOf(name), bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
      // Another server of the same system was faster.
      if (await isThere(name, plain)) return 'identical'
      throw error
    }
    // Directories may be of a run that was killed before it had made them durable.
    if (!isGroundDurable) await storage.persist(pathOf(name))
    isGroundDurable = true
    return 'stored'
  }

  /** Whether the very same content is there, which is then made durable; false when nothing is. */
  async function isThere(name: string, plain: Uint8Array): Promise<boolean> {
    const present = await orNone(damageInArchive(name, () => read(name)))
    if (present === undefined) return false
    const { header } = present
    const isSame = header.bytes === plain.byteLength && header.sha256 === sha256Of(plain)
    if (!isSame) throw differs(name, where(name), header)
    await storage.persist(pathOf(name))
    return true
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
    return found.flatMap(({ name }) => walNameOf(below, name) ?? [])
  }

  return {
    systemIdentifier,
    put,
    read,
    stored,
    putStored,
    header: async name => (await headOf(name)).header,
    timelines,
    async names(timeline) {
      const wanted = timeline === undefined ? await timelines() : [timeline]
      return (await Promise.all(wanted.map(namesOf))).flat().sort()
    },
    async storedBytes(name) {
      const reader = await archived(name, storage.openRead(pathOf(name)))
      await reader.close()
      return reader.size
    },
    remove: names => storage.removeFiles(names.map(pathOf)),
    async removeLeftovers(name, now) {
      const parent = pathOf(name)
      await storage.removeLeftovers(parent.slice(0, parent.lastIndexOf('/')), new Date(now.getTime() - LEFTOVER_AGE_MS))
    },
    localPath: name => storage.localPath(pathOf(name)),
  }
}

/** The bytes of a stored file. */
function fileOf(
  { sha256, stored, storedSha256 }: Packed,
  known: Omit<WalFileHeader, 'format' | 'sha256' | 'stored_sha256'>,
): Buffer {
  return Buffer.concat([formatWalHeader({ format: 1, ...known, sha256, stored_sha256: storedSha256 }), stored])
}

function verified(
  stored: Buffer,
  header: WalFileHeader,
  { where, room }: { where: string; room: Buffer | undefined },
): Buffer {
  if (sha256Of(stored) !== header.stored_sha256) throw walDamaged(where, 'its bytes were changed')
  let plain: Buffer
  try {
    plain = unpacked(stored, header.bytes, room)
  } catch (cause) {
    throw walDamaged(where, messageOf(cause), cause)
  }
  if (sha256Of(plain) !== header.sha256) throw walDamaged(where, 'its content is not what was archived')
  return plain
}

async function archived<T>(name: string, opening: Promise<T>): Promise<T> {
  try {
    return await opening
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'not-found') throw error
    throw new NexusError('not-found', 'wal_not_archived', `${name} is not in the archive`, { cause: error.cause })
  }
}

async function orNone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.code === 'wal_not_archived') return undefined
    throw error
  }
}

/** What is there cannot be compared: the operator decides, for nothing is ever overwritten. */
async function damageInArchive<T>(name: string, reading: () => Promise<T>): Promise<T> {
  try {
    return await reading()
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'wal_damaged') throw error
    throw new NexusError('damage', 'wal_damaged', `${name} is in the archive already, but ${error.message}`, {
      hint: 'move the damaged file out of the repository; the server tries again within a minute and stores the good one',
      cause: error,
    })
  }
}

function differs(name: string, where: string, header: WalFileHeader): NexusError {
  return new NexusError(
    'refused',
    'wal_differs',
    `${name} is in the archive already with another content (archived ${header.archived_at}): ${where}`,
    {
      hint: 'nothing was overwritten; two servers write as one system, or a restored copy archives: give one of them another source with --source, or switch its archive_mode off',
    },
  )
}
