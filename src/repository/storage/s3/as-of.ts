import type {
  CommonPrefix,
  GetObjectCommandInput,
  ListObjectsV2CommandInput,
  ListObjectVersionsCommandOutput,
  ObjectVersion,
} from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import type { Connection } from './client.js'
import { type S3Settings, s3Location } from './settings.js'

/** The newest version of an object at an instant. */
type Version = Pick<ObjectVersion, 'Size' | 'LastModified' | 'StorageClass' | 'VersionId'>

/** Requests that change nothing, and need no version. */
const HARMLESS: ReadonlySet<string> = new Set(['ListObjectVersionsCommand', 'ListMultipartUploadsCommand'])
const READING: ReadonlySet<string> = new Set(['GetObjectCommand', 'HeadObjectCommand'])

/**
 * Has a client read a bucket with versions as it was at an instant: what was deleted or written over later is seen
 * through, and nothing is written. With object lock, nobody can have removed the versions that were locked then. All
 * versions below the prefix are listed once, with the first request.
 */
export function readAsOf({ client, sdk }: Connection, settings: S3Settings, instant: Date): void {
  let listing: Promise<Map<string, Version>> | undefined
  const versions = () => {
    listing ??= versionsAt({ client, sdk }, settings, instant)
    return listing
  }
  client.middlewareStack.add(
    (next, context) => async args => {
      const command = context.commandName ?? ''
      if (HARMLESS.has(command)) return next(args)
      if (command === 'ListObjectsV2Command') {
        return { output: listed(await versions(), args.input as ListObjectsV2CommandInput) as never, response: {} }
      }
      if (!READING.has(command)) throw readOnly(settings, instant)
      const input = args.input as GetObjectCommandInput
      const found = (await versions()).get(input.Key ?? '')
      if (found === undefined) throw Object.assign(new Error('it was not there then'), { name: 'NoSuchKey' })
      return next({ ...args, input: { ...input, VersionId: found.VersionId } as never })
    },
    { step: 'initialize', name: 'asOf' },
  )
}

async function versionsAt(
  { client, sdk }: Pick<Connection, 'client' | 'sdk'>,
  { bucket, prefix }: S3Settings,
  instant: Date,
): Promise<Map<string, Version>> {
  const newest = new Map<string, Version & { isMarker: boolean }>()
  const take = (isMarker: boolean, { Key = '', ...version }: Version & { Key?: string | undefined }) => {
    const { LastModified } = version
    if (LastModified === undefined || LastModified > instant) return
    const known = newest.get(Key)?.LastModified
    // Of one instant, which stores tell to the second, the first listed is the newest.
    if (known === undefined || LastModified > known) newest.set(Key, { ...version, isMarker })
  }
  let marks: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } | undefined = {}
  while (marks !== undefined) {
    const Prefix = prefix === '' ? '' : `${prefix}/`
    const page: ListObjectVersionsCommandOutput = await client.send(
      new sdk.ListObjectVersionsCommand({ Bucket: bucket, Prefix, ...marks }),
    )
    for (const version of page.Versions ?? []) take(false, version)
    for (const marker of page.DeleteMarkers ?? []) take(true, marker)
    marks =
      page.IsTruncated === true
        ? { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
        : undefined
  }
  return new Map([...newest].filter(([, { isMarker }]) => !isMarker))
}

/** The answer to a listing, in one page. */
function listed(versions: ReadonlyMap<string, Version>, input: ListObjectsV2CommandInput) {
  const { Prefix = '', Delimiter, StartAfter = '', MaxKeys } = input
  const prefixes = new Set<string>()
  const contents: (Version & { Key: string })[] = []
  for (const Key of [...versions.keys()].sort()) {
    if (!Key.startsWith(Prefix) || Key <= StartAfter) continue
    const end = Delimiter === undefined ? -1 : Key.indexOf(Delimiter, Prefix.length)
    if (end >= 0) prefixes.add(Key.slice(0, end + 1))
    else contents.push({ Key, ...versions.get(Key) })
  }
  const CommonPrefixes: CommonPrefix[] = [...prefixes].map(one => ({ Prefix: one }))
  const count = contents.length + prefixes.size
  return { Contents: contents, CommonPrefixes, KeyCount: Math.min(count, MaxKeys ?? count), IsTruncated: false }
}

/** Its code is that of credentials that may only read: readers then go on without a lock. */
function readOnly(settings: S3Settings, instant: Date): NexusError {
  const message = `${s3Location(settings)} is read as it was at ${instant.toISOString()} (as_of): nothing is written there`
  return new NexusError('refused', 'access_denied', message, { hint: 'to write, take as_of out of the configuration' })
}
