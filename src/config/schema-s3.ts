import * as v from 'valibot'
import type { S3Settings } from '../repository/storage/s3/settings.js'
import { absolutePath, duration, mapping, sizeWithin, trustedEpochs } from './schema.js'

const words = (message: string, pattern: RegExp) => v.pipe(v.string(message), v.regex(pattern, message))

const bucketMessage = 'must be the name of a bucket: 3 to 63 characters of a-z, 0-9, "." and "-"'
const prefixMessage = 'must be a path within the bucket, such as backups/db1'
const endpointMessage = 'must be a URL such as https://s3.example.com:9000'
const instantMessage = 'must be an instant with its zone, such as 2025-11-03T02:30:00Z'
const daysMessage = 'must be a number of days, from 1'
const secretMessage =
  'credentials never stand in a configuration: use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile'

/** Keys whose values would be secrets, by the names under which people look for them. */
const secrets = ['access_key', 'access_key_id', 'secret_key', 'secret_access_key', 'session_token'] as const
const refusedSecrets = Object.fromEntries(secrets.map(key => [key, v.optional(v.never(secretMessage))]))

export const bucketName = words(bucketMessage, /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)

/** A prefix without slashes at its ends; empty for the whole bucket. */
export const bucketPrefix = v.pipe(
  v.string(prefixMessage),
  v.transform(prefix => prefix.replace(/^\/+|\/+$/g, '')),
  v.check(isPrefix, prefixMessage),
)

export const endpointUrl = v.pipe(
  v.string(endpointMessage),
  v.check(isEndpoint, endpointMessage),
  v.transform(url => url.replace(/\/+$/, '')),
)

const partSizeMessage = 'must be a size from 5MiB to 5GiB, such as 64MiB'
const partSize = sizeWithin({ least: 5 * 1024 ** 2, most: 5 * 1024 ** 3 }, ['MB', 'MiB', 'GB', 'GiB'], partSizeMessage)

function wholeNumber(least: number, most: number) {
  const message = `must be a whole number from ${least} to ${most}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(least, message), v.maxValue(most, message))
}

/** The keys of `s3`, for the manual page too. */
export const s3Keys = mapping({
  bucket: bucketName,
  prefix: v.optional(bucketPrefix),
  region: v.optional(words('must be a region such as eu-central-1', /^[A-Za-z0-9-]{1,64}$/)),
  endpoint: v.optional(endpointUrl),
  storage_class: v.optional(words('must be a storage class such as STANDARD_IA', /^[A-Z][A-Z0-9_]{1,63}$/)),
  force_path_style: v.optional(v.boolean('must be true or false')),
  sse: v.optional(v.picklist(['AES256', 'aws:kms'], 'must be AES256 or aws:kms')),
  kms_key_id: v.optional(words('must be the id or ARN of a key', /^[\x21-\x7e]{1,2048}$/)),
  ca_file: v.optional(absolutePath),
  object_lock: v.optional(
    mapping({
      mode: v.picklist(['governance', 'compliance'], 'must be governance or compliance'),
      days: v.pipe(
        v.number(daysMessage),
        v.integer(daysMessage),
        v.minValue(1, daysMessage),
        v.maxValue(36500, daysMessage),
      ),
    }),
  ),
  profile: v.optional(words('must be the name of a profile', /^[^\p{Cc}]{1,255}$/u)),
  // Longer ones would outlast a lease (storage/s3/retries.ts).
  timeout: v.optional(v.pipe(duration, v.maxValue(120_000, 'must be 2min at most'))),
  as_of: v.optional(v.pipe(v.string(instantMessage), v.isoTimestamp(instantMessage))),
  part_size: v.optional(partSize),
  max_parts: v.optional(wholeNumber(2, 10_000)),
  concurrency: v.optional(wholeNumber(1, 64)),
  locking: v.optional(v.picklist(['conditional', 'single-writer'], 'must be conditional or single-writer')),
  ...refusedSecrets,
})

const s3Schema = v.pipe(
  s3Keys,
  v.check(({ kms_key_id, sse }) => kms_key_id === undefined || sse === 'aws:kms', 'kms_key_id goes with sse: aws:kms'),
  v.check(({ ca_file, endpoint }) => ca_file === undefined || endpoint !== undefined, 'ca_file goes with an endpoint'),
)

/** A repository on an object store. */
export const s3RepositorySchema = mapping({
  s3: s3Schema,
  path: v.optional(v.never('a repository has either a path or s3')),
  trusted_epochs: v.optional(trustedEpochs),
  /** Read by itself (encryption.ts). */
  encryption: v.optional(v.unknown()),
})

/** The keys of a configuration as the storage knows them. */
export function s3SettingsOf(written: v.InferOutput<typeof s3Schema>): S3Settings {
  const { bucket, prefix = '', region, endpoint, profile, timeout, as_of, sse } = written
  const { storage_class, force_path_style, kms_key_id, ca_file, object_lock } = written
  const { part_size, max_parts, concurrency, locking } = written
  return {
    bucket,
    prefix,
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(storage_class === undefined ? {} : { storageClass: storage_class }),
    ...(force_path_style === undefined ? {} : { forcePathStyle: force_path_style }),
    ...(sse === undefined ? {} : { sse }),
    ...(kms_key_id === undefined ? {} : { kmsKeyId: kms_key_id }),
    ...(ca_file === undefined ? {} : { caFile: ca_file }),
    ...(object_lock === undefined
      ? {}
      : {
          objectLock: { mode: object_lock.mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE', days: object_lock.days },
        }),
    ...(profile === undefined ? {} : { profile }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(as_of === undefined ? {} : { asOf: new Date(as_of) }),
    ...(part_size === undefined ? {} : { partSize: part_size }),
    ...(max_parts === undefined ? {} : { maxParts: max_parts }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(locking === undefined ? {} : { locking }),
  }
}

function isPrefix(prefix: string): boolean {
  if (prefix === '') return true
  if (Buffer.byteLength(prefix) > 512 || /[\p{Cc}\p{Cs}]/u.test(prefix)) return false
  return prefix.split('/').every(part => part !== '' && part !== '.' && part !== '..')
}

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, search, hash } = new URL(text)
  return (
    (protocol === 'https:' || protocol === 'http:') && [username, password, search, hash].every(part => part === '')
  )
}
