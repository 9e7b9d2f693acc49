import { isAbsolute, normalize } from 'node:path'
import * as v from 'valibot'
import { parseDuration } from './duration.js'
import { sourceNameProblem } from './names.js'

/** An absolute path, normalized, without a slash at its end. */
export const absolutePath = v.pipe(
  v.string('must be an absolute path'),
  v.check(path => isAbsolute(path) && !path.includes('\0'), 'must be an absolute path'),
  v.transform(path => normalize(path).replace(/(.)\/$/, '$1')),
)

const zone = v.pipe(
  v.string('must be a time zone such as Asia/Tokyo'),
  v.check(isTimezone, issue => `'${issue.input}' is not a time zone; write one such as Asia/Tokyo or UTC`),
)

export const duration = v.pipe(
  v.string('must be a duration such as 12h, 30d or 8w'),
  v.check(
    text => parseDuration(text) !== undefined,
    issue => `'${issue.input}' is not a duration; write one such as 30min, 12h, 30d or 8w`,
  ),
  v.transform(text => parseDuration(text) ?? 0),
)

const sizeUnits: Readonly<Record<string, number>> = {
  kB: 1000,
  KiB: 1024,
  MB: 1000 ** 2,
  MiB: 1024 ** 2,
  GB: 1000 ** 3,
  GiB: 1024 ** 3,
}

/** A number of bytes, written as a whole number with one of the units. */
export function sizeWithin(range: { least: number; most: number }, units: readonly string[], message: string) {
  return v.pipe(
    v.string(message),
    v.regex(new RegExp(`^[1-9]\\d{0,9}(?:${units.join('|')})$`), message),
    v.transform(text => Number.parseInt(text, 10) * (sizeUnits[text.replace(/^\d+/, '')] ?? 0)),
    v.minValue(range.least, message),
    v.maxValue(range.most, message),
  )
}

const countMessage = 'must be a whole number from 1'
const count = v.pipe(
  v.number(countMessage),
  v.integer(countMessage),
  v.minValue(1, countMessage),
  v.maxValue(999_999_999, countMessage),
)

const mappingMessage = 'must be a mapping of keys to values'

/** An object with these keys and no others; valibot alone takes a list for one. */
export function mapping<const E extends v.ObjectEntries>(entries: E, message = mappingMessage) {
  const schema = v.strictObject(entries, message)
  return v.pipe(v.custom<v.InferInput<typeof schema>>(isMapping, message), schema)
}

function isMapping(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Entries by name, each read by itself later. */
function named<N extends v.GenericSchema<string, string>>(name: N) {
  return v.pipe(
    v.custom<Record<string, unknown>>(isMapping, mappingMessage),
    v.record(name, v.unknown(), mappingMessage),
  )
}

const keepKeys = {
  last: v.optional(count),
  hourly: v.optional(count),
  daily: v.optional(count),
  weekly: v.optional(count),
  monthly: v.optional(count),
  yearly: v.optional(count),
  within: v.optional(duration),
}

/** The retention policy of a kind that has no log between its backups. */
export const keepSchema = mapping({
  ...keepKeys,
  pitr: v.optional(v.never('only sources of kind postgres have a log to keep')),
})

/** The retention policy of a cluster. */
export const clusterKeepSchema = mapping({ ...keepKeys, pitr: v.optional(duration) })

const ratioMessage = 'must be a number above 0'
export const chainSchema = mapping({
  max_age: v.optional(duration),
  max_length: v.optional(count),
  max_ratio: v.optional(v.pipe(v.number(ratioMessage), v.finite(ratioMessage), v.gtValue(0, ratioMessage))),
})

const fingerprintMessage = 'must be a list of fingerprints, 64 hexadecimal digits each: nexus-backup keys list'
/** Epochs whose word counts. */
export const trustedEpochs = v.pipe(
  v.array(
    v.pipe(
      v.string(fingerprintMessage),
      v.transform(text => text.toLowerCase()),
      v.regex(/^[0-9a-f]{64}$/, fingerprintMessage),
    ),
    fingerprintMessage,
  ),
  v.minLength(1, fingerprintMessage),
)

export const repositorySchema = mapping({
  path: absolutePath,
  trusted_epochs: v.optional(trustedEpochs),
  /** Read by itself (encryption.ts). */
  encryption: v.optional(v.unknown()),
})

/** The document itself; what stands below `repositories` and `sources` is read entry by entry. */
export const documentSchema = mapping(
  {
    timezone: v.optional(zone),
    state: v.optional(absolutePath),
    repositories: v.optional(named(v.string())),
    sources: v.optional(
      named(
        v.pipe(
          v.string(),
          v.check(isSourceName, issue => sourceNameProblem(issue.input) ?? ''),
        ),
      ),
    ),
  },
  'must be a mapping with repositories and sources',
)

function isSourceName(name: string): boolean {
  return sourceNameProblem(name) === undefined
}

/** Whether the runtime knows an IANA zone of this name. */
export function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}
