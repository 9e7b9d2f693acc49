import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import type { Bucket } from './bucket.js'

export const DAY_MS = 24 * 3600 * 1000

/** Until when a new object of a backup is locked, by the server's clock; undefined where the repository locks nothing. */
export function newLockEnd(bucket: Bucket): Date | undefined {
  const { objectLock } = bucket.settings
  return objectLock === undefined ? undefined : new Date(bucket.serverNow().getTime() + objectLock.days * DAY_MS)
}

/** What a request that writes a file of a backup says of its lock. */
export function retentionOf(bucket: Bucket): Partial<PutObjectCommandInput> {
  const until = newLockEnd(bucket)
  const mode = bucket.settings.objectLock?.mode
  return until === undefined || mode === undefined ? {} : { ObjectLockMode: mode, ObjectLockRetainUntilDate: until }
}
