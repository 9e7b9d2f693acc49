import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { NexusError } from '../../../errors.js'
import { parseOutsideJson, prettyJson } from '../../json.js'
import { quoted } from '../../layout.js'
import { FORMAT } from '../../manifest.js'
import { takeOrWait } from '../lock-wait.js'
import type { Lock, LockName, LockOptions, WriterHost } from '../locks.js'
import type { Bucket } from './bucket.js'
import type { Leases } from './leases.js'
import { getSmall, put, putOnce } from './objects.js'

/** Which host writes into the repository; replaced when another takes over. */
const writerFile = 'locks/writer.json'
const writerLimit = 64 * 1024
const pauses = { grace: [], first: 100, longest: 1000 }

const text = v.pipe(v.string(), v.maxLength(1024))
const writerSchema = v.looseObject({
  format: v.literal(FORMAT),
  /** The host, as its signing key is named; two machines may have one name. */
  host_id: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)),
  host: text,
  user: text,
  /** Since when it writes, by the server's clock. */
  since: v.pipe(v.string(), v.isoTimestamp()),
})
type Writer = v.InferOutput<typeof writerSchema>

/**
 * Takes a writer's lock where one host alone may write: a lock of this machine excludes its other processes, the
 * repository names the host, and a lease lets two hosts notice each other that both think they are the one.
 * @throws NexusError refused `writer_elsewhere`; locked, interrupted
 */
export async function takeAsOnlyWriter(
  bucket: Bucket,
  leases: Leases,
  { source, name }: { source: string; name: LockName },
  options: LockOptions,
): Promise<Lock> {
  const { writer } = options
  const id = await writer.id()
  const present = await readWriter(bucket)
  if (present !== undefined && present.host_id !== id && !writer.takeOver) throw elsewhere(bucket, present, options)
  const local = await takeLocally(bucket, leases, { source, name }, options)
  try {
    const lease = await leases.take(name, 'exclusive', options)
    try {
      await settle(bucket, id, options)
    } catch (error) {
      await lease.release()
      throw error
    }
    leases.askAtRenewal(() => assertWrites(bucket, id, options))
    return { unlocked: false, release: () => lease.release().finally(local.close) }
  } catch (error) {
    local.close()
    throw error
  }
}

async function takeLocally(
  bucket: Bucket,
  leases: Leases,
  { source, name }: { source: string; name: LockName },
  options: LockOptions,
): ReturnType<WriterHost['openLock']> {
  const digest = createHash('sha256').update(`${bucket.location}/${source}/${name}`).digest('hex')
  const local = await options.writer.openLock(`${digest.slice(0, 32)}.lock`)
  try {
    const tryTake = async () => isTaken(local) || undefined
    await takeOrWait(source, options, pauses, { tryTake, holders: () => leases.holders() })
    return local
  } catch (error) {
    local.close()
    throw error
  }
}

/** Where the state directory's file system has no locks, the lease alone excludes. */
function isTaken(local: Awaited<ReturnType<WriterHost['openLock']>>): boolean {
  try {
    return local.tryTake('exclusive')
  } catch (error) {
    if (error instanceof NexusError && error.code === 'lock_unusable') return true
    throw error
  }
}

/** Makes this host the one that writes, where none is yet or it takes over. */
async function settle(bucket: Bucket, id: string, options: LockOptions): Promise<void> {
  const { host, user, writer, onWait } = options
  const present = await readWriter(bucket)
  if (present?.host_id === id) return
  if (present !== undefined && !writer.takeOver) throw elsewhere(bucket, present, options)
  const since = bucket.serverNow().toISOString()
  const bytes = prettyJson({ format: FORMAT, host_id: id, host, user, since })
  if (present === undefined) await putOnce(bucket, writerFile, bytes)
  else {
    onWait(`${bucket.location}: this host takes over from ${described(present)}, which is refused from now on`)
    await put(bucket, writerFile, bytes)
  }
  await assertWrites(bucket, id, options)
}

async function assertWrites(bucket: Bucket, id: string, options: LockOptions): Promise<void> {
  const present = await readWriter(bucket)
  if (present?.host_id === id) return
  if (present !== undefined) throw elsewhere(bucket, present, options)
  throw new NexusError('damage', 'writer_missing', `${bucket.displayed(writerFile)} was removed while this run wrote`, {
    hint: 'find out who removed it; the next run writes it anew',
  })
}

/** Undefined where no host has written yet. @throws NexusError damage `writer_damaged` */
async function readWriter(bucket: Bucket): Promise<Writer | undefined> {
  let bytes: Buffer
  try {
    bytes = await getSmall(bucket, writerFile, writerLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    // It is too large.
    if (error instanceof NexusError && error.kind === 'damage') throw damaged(bucket, error)
    throw error
  }
  try {
    return v.parse(writerSchema, parseOutsideJson(bytes))
  } catch (cause) {
    throw damaged(bucket, cause)
  }
}

function damaged(bucket: Bucket, cause: unknown): NexusError {
  const path = bucket.displayed(writerFile)
  return new NexusError('damage', 'writer_damaged', `${path} does not tell which host writes here`, {
    cause,
    hint: 'find out who changed it; remove it when no nexus-backup runs, and the next run writes it anew',
  })
}

function elsewhere(bucket: Bucket, present: Writer, { purpose }: LockOptions): NexusError {
  const run = /^(?:create|copy|prune) /.test(purpose) ? purpose : 'create'
  return new NexusError(
    'refused',
    'writer_elsewhere',
    `${bucket.location} is written by one host alone (locking: single-writer), and that is ${described(present)}`,
    {
      hint: `run it there; where this host takes its place for good, and nothing runs there any more: nexus-backup ${run} --take-over`,
    },
  )
}

function described({ host, host_id: id, since }: Writer): string {
  return `${quoted(host)} (host ${id}, since ${since.slice(0, 19)}Z)`
}
