import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { CreateBucketCommand, GetObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3'
import { afterAll, onTestFinished } from 'vitest'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { type S3Keys, type S3Process, sharedServer, startServer, stopServer } from './s3-process.js'

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
  /** A file with key and certificates: a server for the running test alone, which speaks HTTPS as well. */
  tlsCert?: string
}

/** The store of this run of tests, started when no file did yet. Sets AWS_* for this process. */
export async function startS3(options: ServerOptions = {}): Promise<S3Server & { httpsEndpoint: string }> {
  const accessKeyId = process.env.NEXUS_TEST_S3_ACCESS_KEY ?? 'TESTACCESSKEY'
  const secretAccessKey = process.env.NEXUS_TEST_S3_SECRET_KEY ?? 'testsecretkey0123456789'
  const { endpoint, httpsEndpoint } = await reachable({ accessKeyId, secretAccessKey }, options)
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
  const atEnd = options.tlsCert === undefined ? afterAll : onTestFinished
  atEnd(() => client.destroy())
  return {
    endpoint,
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
  keys: S3Keys,
  { tlsCert }: ServerOptions,
): Promise<{ endpoint: string; httpsEndpoint: string }> {
  const given = process.env.NEXUS_TEST_S3_ENDPOINT
  if (given !== undefined) return { endpoint: given, httpsEndpoint: given }
  const { port } = tlsCert === undefined ? await sharedServer(keys) : await ownServer(keys, tlsCert)
  return { endpoint: `http://127.0.0.1:${port}`, httpsEndpoint: `https://localhost:${port + 2}` }
}

/** A server for the running test alone. */
async function ownServer(keys: S3Keys, tlsCert: string): Promise<S3Process> {
  const directory = mkdtempSync(join(tmpdir(), 'nbs3-'))
  const stop = () => {
    stopServer(directory)
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
  process.once('exit', stop)
  onTestFinished(() => {
    process.off('exit', stop)
    stop()
  })
  return startServer(directory, keys, tlsCert)
}
