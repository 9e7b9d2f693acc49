import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'

const text = v.pipe(v.string(), v.maxLength(4096))
const number = v.pipe(v.number(), v.integer(), v.minValue(0))
/** It becomes part of a file that the server obeys. */
const place = v.pipe(
  text,
  v.check(path => path.startsWith('/') && !/\p{Cc}/u.test(path)),
)

/** Of a cluster's facts, what its restore needs. A manifest is input from outside. */
const schema = v.object({
  system_identifier: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
  server_version_num: v.pipe(number, v.minValue(130_000)),
  timeline: number,
  data_checksums: v.boolean(),
  /** Where its recovery begins; older manifests lack it. */
  start_segment: v.optional(v.pipe(v.string(), v.regex(/^[0-9A-F]{24}$/))),
  owner: v.optional(text, ''),
  group: v.optional(text, ''),
  uid: v.optional(number, 0),
  gid: v.optional(number, 0),
  tablespaces: v.optional(v.array(v.object({ oid: v.pipe(number, v.minValue(1)), path: place })), []),
  wal_directory: v.optional(v.nullable(place), null),
  settings: v.optional(v.record(v.string(), text), {}),
})

export type BaseFacts = v.InferOutput<typeof schema>

/** What a manifest tells of a cluster. @throws NexusError `damage` (`facts_damaged`) */
export function baseFacts({ id, facts }: Pick<Manifest, 'id' | 'facts'>): BaseFacts {
  const parsed = v.safeParse(schema, facts)
  if (parsed.success) return parsed.output
  throw new NexusError('damage', 'facts_damaged', `the manifest of ${id} does not tell what cluster it is of`, {
    hint: 'choose another backup: nexus-backup list shows them',
  })
}

/** Major version of the server. */
export function majorOf({ server_version_num }: BaseFacts): number {
  return Math.floor(server_version_num / 10_000)
}
