import * as v from 'valibot'

/** Major format of the repository; an unknown one is refused (design section 5). */
export const FORMAT = 1

/** `full` every block, `diff` since the last full, `incr` since the last backup of any type. */
export const backupTypes = ['full', 'diff', 'incr'] as const
export type BackupType = (typeof backupTypes)[number]

/** Source kinds (design section 2). */
export const sourceKinds = ['sqlite', 'postgres', 'postgres-tables', 'files'] as const
export type SourceKind = (typeof sourceKinds)[number]

const digestAlgorithms = ['xxh3-128', 'sha256-128'] as const
/** How a block's 128-bit digest is made; `sha256-128` is SHA-256 cut to its first 16 bytes. */
export type DigestAlgorithm = (typeof digestAlgorithms)[number]

const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER))
const text = v.pipe(v.string(), v.maxLength(4096))
const hex = (bytes: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`)))
const instant = v.pipe(v.string(), v.isoTimestamp())

/** A relative path that stays below its root: no `..`, no absolute name, no NUL, no backslash tricks. */
const innerPath = v.pipe(
  text,
  v.minLength(1),
  v.check(
    path =>
      !path.startsWith('/') &&
      !path.includes('\0') &&
      !path.split('/').some(part => part === '' || part === '.' || part === '..'),
    'must stay inside the backup',
  ),
)
/** A plain file name directly inside the backup's directory. */
const partName = v.pipe(innerPath, v.regex(/^[^/]+$/, 'must be a plain file name'))

const blockSize = v.pipe(count, v.minValue(512), v.maxValue(16 * 1024 * 1024))

const fileSchema = v.looseObject({
  path: innerPath,
  /** Bytes. */
  size: count,
  /** Bytes. */
  block_size: blockSize,
})

const treeSchema = v.looseObject({
  /** Bytes, the same for every file. */
  block_size: blockSize,
  /** Lines of the tree part. */
  entries: count,
  /** Of these, those of type file. */
  files: count,
})

const partSchema = v.looseObject({
  name: partName,
  /**
   * `image`: frames that together are a standard file; `blocks`: frames of changed blocks; `index`: blocks.idx;
   * `tree`: the entries of a tree image, one JSON document a line.
   */
  role: v.picklist(['image', 'blocks', 'index', 'tree']),
  bytes: count,
  sha256: hex(32),
})

const checkSchema = v.looseObject({
  /** `integrity_check`, `quick_check`, or the text of a content check's query. */
  name: text,
  kind: v.picklist(['integrity', 'content']),
  status: v.picklist(['ok', 'failed']),
  /** Problems found, or the rows the query returned as canonical JSON. */
  detail: v.pipe(v.string(), v.maxLength(1 << 20)),
})

/** Only of encrypted backups; every binary value in base64. */
const encryptionSchema = v.looseObject({
  format: v.literal(1),
  /** Whose public key the data key is sealed to. */
  epoch: v.pipe(text, v.regex(/^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}$/)),
  /** The backup's own key, of which those of its parts come: HPKE. */
  data_key: text,
  /** What of the manifest is not for everybody: digests, results of checks, warnings, some facts. */
  sealed: v.pipe(v.string(), v.maxLength(8 * 1024 * 1024)),
  /** Name of the key that signed. */
  signer: text,
  /** HMAC-SHA-256 by a key of the data key, over the canonical JSON of all but this and the signature. */
  mac: hex(32),
  /** Ed25519, over the canonical JSON of all but itself. */
  signature: text,
})

/** What `manifest.json` holds. Unknown fields are kept; their meaning is in nexus-backup-repository(5). */
export const manifestSchema = v.looseObject({
  format: v.literal(FORMAT),
  id: v.pipe(text, v.regex(/^\d{8}T\d{6}\.\d{3}Z-(full|diff|incr)-[0-9a-f]{4}$/)),
  /** Highest of the source plus one, under the writer lock: decides parent, "latest" and list order. */
  sequence: v.pipe(count, v.minValue(1)),
  /** Sources captured together share it. */
  run_id: text,
  source: text,
  kind: v.picklist(sourceKinds),
  host: text,
  operator: v.looseObject({ user: text, sudo_user: v.nullable(text) }),
  type: v.picklist(backupTypes),
  /** Id of the backup this one's blocks are changes against; null for a full. */
  parent: v.nullable(text),
  captured_at: instant,
  /** An instant, `forever`, or null for what the policy says. */
  keep_until: v.nullable(v.union([v.literal('forever'), instant])),
  label: v.nullable(text),
  /** nexus-backup's version and, where it matters, the engine's (`sqlite`). */
  versions: v.record(v.string(), text),
  files: v.pipe(v.array(fileSchema), v.maxLength(10_000)),
  /** Only of tree images: their files stand in the part of role `tree`, and `files` is empty. */
  tree: v.optional(treeSchema),
  digest_algorithm: v.picklist(digestAlgorithms),
  /** 64-bit seed of xxh3-128, random per chain, 16 hexadecimal digits; null where it is sealed. */
  digest_seed: v.nullable(hex(8)),
  /** SHA-256 over the digests of every block of the image, in order of file and block; null where it is sealed. */
  image_digest: v.nullable(hex(32)),
  parts: v.pipe(v.array(partSchema), v.maxLength(1000)),
  checks: v.pipe(v.array(checkSchema), v.maxLength(10_000)),
  /** Made with `--allow-damaged` from a source that failed its check. */
  damaged_source: v.boolean(),
  /** Something vanished or changed while it was read; `warnings` says what. Absent means no. */
  incomplete: v.optional(v.boolean()),
  bytes_source: count,
  bytes_stored: count,
  blocks_total: count,
  blocks_stored: count,
  duration_ms: count,
  warnings: v.pipe(v.array(v.string()), v.maxLength(10_000)),
  /** What the source's kind needs to know again: page size, inode, WAL position, owner … */
  facts: v.record(v.string(), v.unknown()),
  encryption: v.optional(encryptionSchema),
})

export type Manifest = v.InferOutput<typeof manifestSchema>
export type ManifestPart = v.InferOutput<typeof partSchema>
export type Encryption = v.InferOutput<typeof encryptionSchema>
export type Check = v.InferOutput<typeof checkSchema>
