import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { CreateBucketCommand, GetObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3'
import { afterAll, onTestFinished } from 'vitest'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'

const script = new URL('s3-server.sh', import.meta.url).pathname

/** A real object store on loopback, or the one that NEXUS_TEST_S3_ENDPOINT names. */
export interface S3Server {
  endpoint: string
  accessKeyId: string
  secretAccessKey: string
  /** The environment in which a program reaches it. */
  env: Record<string, string>
  client: S3Client
  /** Every object below a place, downloaded as any client would. */
  download(place: S3Settings, directory: string): Promise<void>
  /** Settings of an empty prefix in a bucket of its own. */
  newPlace(change?: Partial<S3Settings>, bucket?: { objectLock: boolean }): Promise<S3Settings>
}

export interface ServerOptions {
  /** A file with key and certificates: the server speaks HTTPS as well. */
  tlsCert?: string
  /** For the running test alone, which then ends it. */
  once?: boolean
}

/** Starts the store for a test file; it is stopped and removed after it. Sets AWS_* for this process. */
export async function startS3(
  options: ServerOptions = {},
): Promise<S3Server & { directory: string | undefined; httpsEndpoint: string }> {
  const accessKeyId = process.env.NEXUS_TEST_S3_ACCESS_KEY ?? 'TESTACCESSKEY'
  const secretAccessKey = process.env.NEXUS_TEST_S3_SECRET_KEY ?? 'testsecretkey0123456789'
  const { endpoint, directory, httpsEndpoint } = await reachable(accessKeyId, secretAccessKey, options)
  const env = {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: process.env.NEXUS_TEST_S3_REGION ?? 'us-east-1',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  }
  Object.assign(process.env, env)
  const client = new S3Client({
    endpoint,
    region: env.AWS_REGION,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    credentials: { accessKeyId, secretAccessKey },
  })
  const atEnd = options.once ? onTestFinished : afterAll
  atEnd(() => client.destroy())
  return {
    endpoint,
    directory,
    httpsEndpoint,
    accessKeyId,
    secretAccessKey,
    env,
    client,
    async download({ bucket, prefix }, directory) {
      for await (const { Contents = [] } of paginateListObjectsV2(
        { client },
        { Bucket: bucket, Prefix: `${prefix}/` },
      )) {
        for (const { Key = '' } of Contents) {
          const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }))
          const path = join(directory, Key.slice(prefix.length + 1))
          mkdirSync(dirname(path), { recursive: true })
          writeFileSync(path, (await Body?.transformToByteArray()) ?? '')
        }
      }
    },
    async newPlace(change = {}, { objectLock } = { objectLock: false }) {
      const bucket = `nexus-${randomBytes(6).toString('hex')}`
      await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: objectLock }))
      return { bucket, prefix: 'backups/db1', endpoint, ...change }
    },
  }
}

async function reachable(
  accessKeyId: string,
  secretAccessKey: string,
  { tlsCert, once = false }: ServerOptions,
): Promise<{ endpoint: string; httpsEndpoint: string; directory: string | undefined }> {
  const given = process.env.NEXUS_TEST_S3_ENDPOINT
  if (given !== undefined) return { endpoint: given, httpsEndpoint: given, directory: undefined }
  const found = spawnSync('radosgw', ['--version'])
  if (found.error) {
    throw new Error(
      'no object store to test with: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd, or set NEXUS_TEST_S3_ENDPOINT, NEXUS_TEST_S3_ACCESS_KEY and NEXUS_TEST_S3_SECRET_KEY',
    )
  }
  const directory = mkdtempSync(join(tmpdir(), 'nbs3-'))
  const stop = () => {
    execFileSync(script, ['stop', directory])
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
  process.once('exit', stop)
  const atEnd = once ? onTestFinished : afterAll
  atEnd(() => {
    process.off('exit', stop)
    stop()
  })
  const port = await freePorts()
  execFileSync(script, ['start', directory, String(port)], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      S3_ACCESS_KEY: accessKeyId,
      S3_SECRET_KEY: secretAccessKey,
      ...(tlsCert === undefined ? {} : { TLS_CERT: tlsCert }),
    },
  })
  return { endpoint: `http://127.0.0.1:${port}`, httpsEndpoint: `https://localhost:${port + 2}`, directory }
}

/** The first of three neighbouring ports that are free now. */
async function freePorts(): Promise<number> {
  for (;;) {
    const port = await portOf(0)
    if (port === undefined) continue
    const neighbours = [await portOf(port + 1), await portOf(port + 2)]
    if (neighbours.every(found => found !== undefined)) return port
  }
}

async function portOf(wanted: number): Promise<number | undefined> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
    })
  })
}
