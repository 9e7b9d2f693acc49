/**
 * How writers exclude each other: by writes that succeed only where nothing is (`If-None-Match: *`), or, on stores that
 * have none, by letting one host alone write.
 */
export type Locking = 'conditional' | 'single-writer'

/** Where a repository on an object store lies and how it is reached; validated. */
export interface S3Settings {
  bucket: string
  /** Without slashes at its ends; empty for the whole bucket. */
  prefix: string
  /** Undefined: what the SDK finds (AWS_REGION, the profile). */
  region?: string
  /** URL of a server that is not AWS's: MinIO, Ceph … */
  endpoint?: string
  /** `https://server/bucket/key` instead of `https://bucket.server/key`; true by default with an endpoint of one's own. */
  forcePathStyle?: boolean
  /** Class of the data of backups; manifests, indexes and whatever else is read often stay in the bucket's standard one. */
  storageClass?: string
  /** Encryption at rest by the server: asked for with every object and read back. */
  sse?: 'AES256' | 'aws:kms'
  kmsKeyId?: string
  /** Certificates (PEM) of the authorities that vouch for the endpoint, beside those that Node knows. */
  caFile?: string
  /** How long the objects of a backup can be removed by nobody; the bucket must have been made with object lock. */
  objectLock?: { mode: 'GOVERNANCE' | 'COMPLIANCE'; days: number }
  /** A profile of the AWS configuration files. */
  profile?: string
  /** Milliseconds without a byte after which a request is given up and tried again. */
  timeout?: number
  /** Read the bucket as it was then, and write nothing; it must have versions. */
  asOf?: Date
  /** Bytes of the parts of an upload; undefined: chosen by the size of the source. */
  partSize?: number
  /** Parts that the store lets an upload have; 10,000 by default. */
  maxParts?: number
  /** Parts on their way at the same time; by default as many as 16 MiB hold, and two at least. */
  concurrency?: number
  /** Undefined: as the repository says; a new one is `conditional`. */
  locking?: Locking
}

/** How the repository is named everywhere: `s3://BUCKET/PREFIX`. */
export function s3Location({ bucket, prefix }: Pick<S3Settings, 'bucket' | 'prefix'>): string {
  return prefix === '' ? `s3://${bucket}` : `s3://${bucket}/${prefix}`
}

/** Whether a repository's name is that of a bucket, and not a directory. */
export function isBucket(location: string): boolean {
  return location.startsWith('s3://')
}

/** Classes whose objects must be thawed before they can be read (AWS: GLACIER, DEEP_ARCHIVE). */
export function isArchiveClass(storageClass: string | undefined): boolean {
  return storageClass === 'GLACIER' || storageClass === 'DEEP_ARCHIVE'
}
