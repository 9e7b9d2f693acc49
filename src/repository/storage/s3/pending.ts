import { createHash } from 'node:crypto'
import { NexusError } from '../../../errors.js'
import { checksumsFile, isPartName, manifestFile, quoted } from '../../layout.js'
import type { PartWriter, PendingDirectory } from '../storage.js'
import type { Bucket } from './bucket.js'
import { holdsAnything, listBelow } from './listing.js'
import { markerOf, markRemoving, markWriting } from './markers.js'
import { putOnce, removeIfAllowed, removeObjects } from './objects.js'
import type { PartLayout } from './part-sizes.js'
import { alreadyThere, openPartWriter, type S3PartWriter } from './part-writer.js'
import { storageClassOf } from './storage-class.js'
import { abortUploads } from './upload.js'

/** What a backup being written must be sure of: that the leases of its source are still ours. */
export interface Guard {
  /** Asks nobody while they are fresh; else renews them. Throws `lease_lost` when one is lost, or why it cannot be told. */
  assertHeld(): Promise<void>
  /** Renews them; throws `lease_lost` when one is lost. */
  renew(): Promise<void>
  /** Whether the last renewal stands beyond doubt. */
  isFresh(): boolean
}

/**
 * Starts a backup: its marker first, its manifest last. Until the manifest is there nobody sees it. Nothing at all is
 * written before the first part.
 */
export function beginS3(bucket: Bucket, directory: string, guard: Guard, layout: PartLayout): PendingDirectory {
  const open = new Set<S3PartWriter>()
  const written = new Map<string, number>()
  let manifest: Buffer | undefined
  let marking: Promise<void> | undefined
  let state: 'open' | 'committed' | 'discarded' = 'open'
  const within = (name: string) => `${directory}/${name}`

  async function mark(): Promise<void> {
    if (!(await markWriting(bucket, directory))) throw alreadyThere(bucket, directory)
    if (!(await holdsAnything(bucket, directory))) return
    await removeObjects(bucket, [markerOf(directory)])
    throw alreadyThere(bucket, directory)
  }

  /** The manifest's bytes stay with us until `commit`. */
  function holdBack(): PartWriter {
    const pieces: Uint8Array[] = []
    return {
      write: async bytes => void pieces.push(Uint8Array.from(bytes)),
      async close() {
        manifest = Buffer.concat(pieces)
        return { name: manifestFile, bytes: manifest.byteLength, sha256: sha256Of(manifest) }
      },
    }
  }

  /** What the server holds must be what was written: an upload whose answer was lost is believed by its size. */
  async function assertArrived(): Promise<void> {
    const found = new Map((await listBelow(bucket, directory)).map(({ name, size }) => [name, size]))
    for (const [name, bytes] of written) {
      if (name !== manifestFile && found.get(name) !== bytes)
        throw miscounted(bucket, within(name), found.get(name), bytes)
    }
  }

  async function commit(atLast?: () => Promise<void>): Promise<void> {
    if (state !== 'open' || open.size > 0 || manifest === undefined) {
      const why = manifest === undefined ? 'it has no manifest' : `it is ${state}, ${open.size} files open`
      throw new NexusError('failed', 'pending_misused', `${directory} cannot be committed: ${why}`)
    }
    await Promise.all([assertArrived(), guard.renew()])
    await atLast?.()
    if (!(await putOnce(bucket, within(manifestFile), manifest, { locked: true })))
      throw alreadyThere(bucket, within(manifestFile))
    if (!guard.isFresh()) await takeBackUnlessHeld()
    state = 'committed'
    // A marker beside a manifest says nothing: the next run removes it when it may.
    await removeIfAllowed(bucket, [markerOf(directory)])
  }

  /** The request for the manifest took so long that somebody may have pruned what the backup needs meanwhile. */
  async function takeBackUnlessHeld(): Promise<void> {
    try {
      await guard.renew()
    } catch (error) {
      // Who took over may have removed the marker, for it stood beside a manifest.
      await markRemoving(bucket, directory)
      await removeObjects(bucket, [within(manifestFile)])
      throw error
    }
  }

  async function discard(): Promise<void> {
    if (state !== 'open') return
    state = 'discarded'
    await Promise.allSettled([...open].map(writer => writer.abort()))
    if (marking === undefined || !(await marking.then(() => true).catch(() => false))) return
    // Who took the lease over has removed it already, and may have copied the same backup since.
    await guard.renew()
    await abortUploads(bucket, directory)
    await removeObjects(bucket, [...written.keys()].filter(name => name !== manifestFile).map(within))
    await removeObjects(bucket, [markerOf(directory)])
  }

  return {
    localPath: undefined,
    async create(name) {
      if (!isPartName(name) && name !== manifestFile && name !== checksumsFile) {
        throw new NexusError('failed', 'part_name_invalid', `${quoted(name)} cannot be the name of a file in a backup`)
      }
      marking ??= mark()
      await marking
      if (written.has(name)) throw alreadyThere(bucket, within(name))
      written.set(name, 0)
      if (name === manifestFile) return holdBack()
      const kept = { storageClass: storageClassOf(bucket.settings, name), locked: true }
      const writer = openPartWriter(bucket, within(name), { own: name, kept, layout, assertHeld: guard.assertHeld })
      open.add(writer)
      return {
        write: bytes => writer.write(bytes),
        async close() {
          const part = await writer.close()
          written.set(name, part.bytes)
          open.delete(writer)
          return part
        },
      }
    },
    commit,
    // The run ends with its own error. What could not be removed now lies behind its marker, and the next run removes it.
    discard: () => discard().catch(() => undefined),
  }
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function miscounted(bucket: Bucket, name: string, found: number | undefined, bytes: number): NexusError {
  const has = found === undefined ? 'is not there' : `has ${found} bytes`
  return new NexusError(
    'failed',
    'repository_io_error',
    `${bucket.displayed(name)} ${has} after ${bytes} were written`,
    {
      hint: 'look at the log of the server: it confirmed every byte',
    },
  )
}
