import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Bucket } from '../../../src/repository/storage/s3/bucket.js'
import { s3Fault } from '../../../src/repository/storage/s3/faults.js'
import { partLayout } from '../../../src/repository/storage/s3/part-sizes.js'
import { retryStrategy, retryTiming } from '../../../src/repository/storage/s3/retries.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { storageClassOf, walStorageClassOf } from '../../../src/repository/storage/s3/storage-class.js'
import { startS3 } from '../../helpers/s3-server.js'

const server = await startS3()

describe('a fault of the store', () => {
  const doing = { verb: 'writing', path: 's3://b/k', location: 's3://b', bucket: 'b', server: 'http://s:9000' }
  const answered = (name: string, httpStatusCode: number) =>
    Object.assign(new Error('m'), { name, $metadata: { httpStatusCode } })
  const broken = (code: string, name = 'Error') => Object.assign(new Error('m'), { name, code })
  test.each([
    [answered('NoSuchBucket', 404), 'bucket_missing'],
    [answered('InvalidAccessKeyId', 403), 'credentials_refused'],
    [answered('SignatureDoesNotMatch', 403), 'credentials_refused'],
    [answered('ExpiredToken', 400), 'credentials_expired'],
    [broken('', 'CredentialsProviderError'), 'credentials_missing'],
    [answered('RequestTimeTooSkewed', 403), 'clock_skewed'],
    [answered('PermanentRedirect', 301), 'region_wrong'],
    [answered('AuthorizationHeaderMalformed', 400), 'region_wrong'],
    [answered('TemporaryRedirect', 307), 'redirected'],
    // The answer to HEAD has no body to name it.
    [answered('UnknownError', 301), 'redirected'],
    [answered('SecondLevelDomainForbidden', 403), 'path_style_refused'],
    [answered('SlowDown', 503), 'server_busy'],
    [answered('InvalidStorageClass', 400), 'storage_class_unknown'],
    [answered('AccessDenied', 403), 'access_denied'],
    [answered('Other', 403), 'access_denied'],
    [answered('NotImplemented', 501), 'not_implemented'],
    [answered('TooManyRequests', 429), 'server_busy'],
    [answered('InternalError', 500), 'server_error'],
    [broken('ECONNREFUSED'), 'connection_refused'],
    [broken('EAI_AGAIN'), 'name_unknown'],
    [broken('ENETUNREACH'), 'unreachable'],
    [broken('ECONNRESET'), 'connection_lost'],
    [broken('ETIMEDOUT'), 'timed_out'],
    [broken('', 'TimeoutError'), 'timed_out'],
    [broken('SELF_SIGNED_CERT_IN_CHAIN'), 'certificate_refused'],
    [broken('CERT_HAS_EXPIRED'), 'certificate_refused'],
    [broken('ERR_TLS_CERT_ALTNAME_INVALID'), 'certificate_refused'],
    [broken('EPROTO'), 'protocol_wrong'],
    [new Error('Region is missing'), 'region_missing'],
    [new Error('of another kind'), 'repository_error'],
    [new Error('wrapped', { cause: broken('ECONNREFUSED') }), 'connection_refused'],
    [new AggregateError([broken('ECONNREFUSED')], 'all'), 'connection_refused'],
  ])('%s is told as %s, with the next step', (error, code) => {
    expect(s3Fault(error, doing)).toMatchObject({
      kind: 'failed',
      code,
      message: expect.stringMatching(/^writing s3:\/\/b\/k failed: /),
      hint: expect.any(String),
      cause: error,
    })
  })

  test('names the settings that ask for what not every server knows', () => {
    const special = ['storage_class', 'object_lock']
    const asked = s3Fault(answered('NotImplemented', 501), { ...doing, special })
    expect(asked).toMatchObject({ hint: expect.stringContaining('try without storage_class, object_lock below s3') })
    const named = s3Fault(broken('ENOTFOUND'), { ...doing, virtualHost: true })
    expect(named).toMatchObject({ code: 'name_unknown', hint: expect.stringContaining('"force_path_style: true"') })
  })

  test('of what is not there, and of what lies in an archive, has a name that others ask for', () => {
    expect(s3Fault(answered('NoSuchKey', 404), doing)).toMatchObject({ kind: 'not-found', code: 'not_in_repository' })
    expect(s3Fault(answered('NotFound', 404), doing)).toMatchObject({ kind: 'not-found' })
    expect(s3Fault(answered('InvalidObjectState', 403), doing)).toMatchObject({ code: 'object_archived' })
  })
})

const MiB = 1024 * 1024
const TiB = 1024 * 1024 * MiB

describe('parts of an upload', () => {
  test('are equal, hold the source and what it may grow by, and leave two on their way', () => {
    const limits = fc.record({ maxParts: fc.constantFrom(undefined, 1000, 10_000) }, { requiredKeys: [] })
    fc.assert(
      fc.property(
        fc.maxSafeNat().map(size => size % (3 * TiB)),
        limits,
        (expected, { maxParts }) => {
          const layout = partLayout(expected, { maxParts })
          expect(layout.bytes * layout.maxParts).toBeGreaterThanOrEqual(expected * 1.2)
          expect(layout.maxParts).toBeLessThanOrEqual(maxParts ?? 10_000)
          expect(layout.bytes).toBeGreaterThanOrEqual(5 * MiB)
          expect(layout.bytes).toBeLessThanOrEqual(5 * 1024 * MiB)
          expect(layout.inFlight).toBeGreaterThanOrEqual(2)
          expect(layout.bytes * layout.inFlight).toBeLessThanOrEqual(Math.max(16 * MiB, 2 * layout.bytes))
        },
      ),
    )
    expect(partLayout(0, {})).toEqual({ bytes: 8 * MiB, maxParts: 10_000, inFlight: 2 })
    expect(partLayout(TiB, { maxParts: 1000 }).bytes).toBe(1311 * MiB)
  })

  test('are what the configuration says', () => {
    const layout = partLayout(TiB, { partSize: 512 * MiB, maxParts: 3000, concurrency: 7 })
    expect(layout).toEqual({ bytes: 512 * MiB, maxParts: 3000, inFlight: 7 })
  })

  test.each([
    [6 * TiB, {}, /no object holds more than 5 TiB/],
    [5 * TiB, { maxParts: 1000 }, /1000 parts of 5 GiB/],
    [TiB, { partSize: 64 * MiB }, /10000 parts of 64 MiB hold 640000 MiB/],
  ])('that cannot hold %i bytes are refused beforehand: %j', (expected, limits, why) => {
    const refused = () => partLayout(expected, limits)
    expect(refused).toThrow(why)
    expect(refused).toThrow(
      expect.objectContaining({ kind: 'refused', code: 'object_too_large', hint: expect.any(String) }),
    )
  })
})

type SdkError = NonNullable<Parameters<ReturnType<typeof retryStrategy>['refreshRetryTokenForRetry']>[1]['error']>

describe('attempts', () => {
  const tried = async (
    error: SdkError,
    errorType: 'TRANSIENT' | 'THROTTLING' | 'CLIENT_ERROR',
    { reached = true, stopping = false } = {},
  ) => {
    const strategy = retryStrategy(retryTiming, () => stopping)
    let token = await strategy.acquireInitialRetryToken('')
    if (reached) strategy.recordSuccess(token)
    const delays: number[] = []
    try {
      for (;;) {
        token = await strategy.refreshRetryTokenForRetry(token, { error, errorType })
        delays.push(token.getRetryDelay())
      }
    } catch (thrown) {
      expect(thrown).toBe(error)
    }
    return delays
  }

  test('are few until the server was reached, then many, and few again once the run is to stop', async () => {
    const error = new Error('away') as SdkError
    expect(await tried(error, 'TRANSIENT', { reached: false })).toHaveLength(3)
    const delays = await tried(error, 'TRANSIENT')
    expect(delays).toHaveLength(9)
    for (const [at, delay] of delays.entries()) expect(delay).toBeLessThanOrEqual(Math.min(20_000, 200 * 2 ** at))
    expect(await tried(error, 'TRANSIENT', { stopping: true })).toHaveLength(3)
    expect(await tried(error, 'CLIENT_ERROR')).toHaveLength(0)
    expect(await tried(Object.assign(error, { $metadata: { httpStatusCode: 501 } }), 'TRANSIENT')).toHaveLength(0)
  })
})

test('only data go into an archive class, and the log never does', () => {
  const glacier = { bucket: 'b', prefix: '', storageClass: 'GLACIER' }
  const wanted = {
    'app.db.zst': 'GLACIER',
    'blocks.zst': 'GLACIER',
    'blocks.idx': undefined,
    'tree.jsonl.zst': undefined,
    'app.db.zst.enc': 'GLACIER',
    'blocks.idx.enc': undefined,
    'tree.jsonl.zst.enc': undefined,
  }
  for (const [name, storageClass] of Object.entries(wanted))
    expect(storageClassOf(glacier, name), name).toBe(storageClass)
  expect(walStorageClassOf(glacier)).toBeUndefined()
  const infrequent = { ...glacier, storageClass: 'STANDARD_IA' }
  expect([storageClassOf(infrequent, 'blocks.idx'), storageClassOf(infrequent, 'manifest.json')]).toEqual([
    'STANDARD_IA',
    undefined,
  ])
  expect(walStorageClassOf(infrequent)).toBe('STANDARD_IA')
})

test('encryption at rest is read back: a server that drops it silently is an error', async () => {
  const kms = await server.newPlace({ sse: 'aws:kms', kmsKeyId: 'testkey-1' })
  const storage = await S3Storage.open(kms)
  await storage.writeOnce('a/b', Buffer.from('x'))
  expect((await storage.readSmall('a/b', 1)).toString()).toBe('x')
  const pending = await storage.begin('itsm/20251103T030000.123Z-full-7f3a')
  const writer = await pending.create('part')
  await writer.write(Buffer.alloc(9_000_000))
  expect((await writer.close()).bytes).toBe(9_000_000)
  await pending.discard()
  const dropped = await S3Storage.open(await server.newPlace({ sse: 'AES256' }))
  // Ceph 16 says yes and does nothing (anchors/s3-server.md); a server that does it would be right.
  await expect(dropped.writeOnce('a/b', Buffer.from('x'))).rejects.toMatchObject({ code: 'encryption_not_applied' })
})

test('an authority’s file that cannot be read is a mistake of the configuration', async () => {
  const settings = await server.newPlace({ caFile: '/nonexistent/ca.pem' })
  await expect(Bucket.open(settings, retryTiming, () => false)).rejects.toMatchObject({
    kind: 'configuration',
    code: 'ca_file_unreadable',
  })
})

describe('what somebody who can add objects puts among the markers', () => {
  const whole = '20251103T030000.123Z-full-7f3a'
  const half = '20251103T040000.123Z-full-7f3b'
  const everything = [
    `main/${whole}/manifest.json`,
    `main/${whole}/app.db.zst`,
    'main/wal/7/00000001/x',
    'main/proofs/y',
  ]
  const directories = [whole, 'proofs', 'wal'].map(name => ({ name, kind: 'directory' }))
  const contents = [
    '{"format":1,"state":"removing"}',
    '{"format":1,"state":"writing"}',
    '{"format":2}',
    'hello',
    '',
    '['.repeat(60_000),
    Buffer.alloc(100_000),
  ]

  test.each(contents)('hides nothing, removes nothing, and is in nobody’s way: %#', async content => {
    const storage = await S3Storage.open(await server.newPlace())
    for (const name of everything) await storage.writeOnce(name, Buffer.from(name))
    for (const name of [whole, 'wal', 'proofs', 'source.json', 'x']) {
      await storage.writeOnce(`main/.pending/${name}`, Buffer.from(content))
    }
    await storage.writeOnce(`main/.pending/${half}`, Buffer.from(content))
    await storage.writeOnce(`main/${half}/app.db.zst`, Buffer.from('half'))
    expect((await storage.list('main')).sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: `.partial-${half}`, kind: 'directory' },
      ...directories,
    ])
    expect(await storage.removeLeftovers('main')).toEqual([`.partial-${half}`])
    expect(await storage.list('main')).toEqual(directories)
    for (const name of everything) expect((await storage.readSmall(name, 100)).toString()).toBe(name)
  })
})
