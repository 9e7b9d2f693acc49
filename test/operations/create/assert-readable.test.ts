import { expect, test } from 'vitest'
import type { SourceSettings } from '../../../src/config/settings.js'
import { assertReadable } from '../../../src/operations/create/assert-readable.js'

const source = (name: string, storageClass?: string) => {
  const s3 = { bucket: 'b', prefix: '', ...(storageClass === undefined ? {} : { storageClass }) }
  return { name, repository: { name: 'offsite', path: 's3://b', s3 } } as SourceSettings
}

test('only a repository in an archive class cannot be read back', () => {
  expect(() => assertReadable([source('app'), source('db', 'STANDARD_IA'), source('logs', 'GLACIER_IR')])).not.toThrow()
  expect(() => assertReadable([source('app'), source('db', 'GLACIER')])).toThrow(
    expect.objectContaining({
      kind: 'usage',
      code: 'archive_unreadable',
      message: expect.stringContaining('what db stores in s3://b: it lies in GLACIER'),
      hint: expect.stringContaining('without --verify'),
    }),
  )
})
