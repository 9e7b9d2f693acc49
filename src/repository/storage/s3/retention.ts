import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import type { Bucket } from './bucket.js'

const DAY_MS = 24 * 3600 * 1000

/** Until when a new object of a backup is locked, by the server's clock; undefined where the repository locks nothing. */
export function newLockEnd(bucket: Bucket): Date | undefined {
  return bucket.settings.objectLock === undefined ? undefined : writtenLock(bucket, bucket.serverNow())
}

/** Until when an object is locked by what was said when it was written. */
export function writtenLock({ settings }: Bucket, written: Date): Date {
  return new Date(written.getTime() + (settings.objectLock?.days ?? 0) * DAY_MS)
}

/**
 * Whether a lock lasts as long as that of a new object, or until another date, but for what is not worth extending it each time: a day, and of
 * short ones a quarter, for they must never end in between.
 */
export function isLongEnough(bucket: Bucket, until: Date | undefined, wanted = newLockEnd(bucket)): boolean {
  return wanted === undefined || (until !== undefined && wanted.getTime() - until.getTime() <= slackOf(bucket))
}

/** What a lock may lack, in milliseconds. */
function slackOf({ settings }: Bucket): number {
  return Math.min(1, (settings.objectLock?.days ?? 0) / 4) * DAY_MS
}

/** So much later that a lock until then, even where it may lack something, outlasts one until a date. */
export function beyond(bucket: Bucket, date: Date): Date {
  return new Date(date.getTime() + 2 * slackOf(bucket))
}

/** What a request that writes a file of a backup says of its lock. */
export function retentionOf(bucket: Bucket): Partial<PutObjectCommandInput> {
  const until = newLockEnd(bucket)
  const mode = bucket.settings.objectLock?.mode
  return until === undefined || mode === undefined ? {} : { ObjectLockMode: mode, ObjectLockRetainUntilDate: until }
}
