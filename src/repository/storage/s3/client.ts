import { readFile } from 'node:fs/promises'
import { Agent } from 'node:https'
import { rootCertificates } from 'node:tls'
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { messageOf, NexusError } from '../../../errors.js'
import { type RetryTiming, retryStrategy } from './retries.js'
import type { S3Settings } from './settings.js'

/** The SDK takes 100 ms to load: only who has a repository on an object store pays. */
const loadSdk = () => import('@aws-sdk/client-s3')
export type Sdk = Awaited<ReturnType<typeof loadSdk>>

/** A client, the SDK's commands, and the server's clock. */
export interface Connection {
  client: S3Client
  sdk: Sdk
  /** The server's time by its last answer, moved on by this machine's monotonic clock; undefined before the first. */
  serverNow(): Date | undefined
}

const TIMEOUT_MS = 60_000
const CONNECT_MS = 10_000

/**
 * Connects to the store. Credentials come by the SDK's usual chain: environment, profile, SSO, container, instance.
 * @throws NexusError configuration for a certificate file that cannot be read
 */
export async function connect(
  settings: S3Settings,
  retries: RetryTiming,
  isStopping: () => boolean,
): Promise<Connection> {
  const sdk = await loadSdk()
  const client = new sdk.S3Client({ ...(await configOf(settings)), retryStrategy: retryStrategy(retries, isStopping) })
  let last: { server: number; here: number } | undefined
  client.middlewareStack.add(
    next => async args => {
      const result = await next(args)
      const date = dateOf(result.response)
      if (date !== undefined) last = { server: date, here: performance.now() }
      return result
    },
    { step: 'deserialize', name: 'serverClock', priority: 'low' },
  )
  return {
    client,
    sdk,
    serverNow: () => (last === undefined ? undefined : new Date(last.server + performance.now() - last.here)),
  }
}

async function configOf(settings: S3Settings): Promise<S3ClientConfig> {
  const own = settings.endpoint !== undefined
  const timeout = settings.timeout ?? TIMEOUT_MS
  const agent = { keepAlive: true, maxSockets: 64 }
  return {
    // A server of one's own rarely has regions, but the signature must name one.
    ...((settings.region ?? (own ? 'us-east-1' : undefined)) ? { region: settings.region ?? 'us-east-1' } : {}),
    ...(settings.endpoint === undefined ? {} : { endpoint: settings.endpoint }),
    ...(settings.profile === undefined ? {} : { profile: settings.profile }),
    forcePathStyle: settings.forcePathStyle ?? own,
    // Other servers know the SDK's new checksums by halves (Ceph 16 answers 411); what we send is signed in any case.
    ...(own ? { requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED' } : {}),
    // It makes a new connection for every part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: Math.min(timeout, CONNECT_MS),
      socketTimeout: timeout,
      httpAgent: agent,
      httpsAgent: new Agent({ ...agent, ...(await authorities(settings.caFile)) }),
    },
  }
}

async function authorities(file: string | undefined): Promise<{ ca?: string[] }> {
  if (file === undefined) return {}
  try {
    return { ca: [...rootCertificates, await readFile(file, 'utf8')] }
  } catch (cause) {
    throw new NexusError('configuration', 'ca_file_unreadable', `ca_file ${file}: ${messageOf(cause)}`, {
      cause,
      hint: 'it must be a readable file of certificates in PEM form',
    })
  }
}

function dateOf(response: unknown): number | undefined {
  const headers = (response as { headers?: Record<string, string> } | undefined)?.headers
  const date = Date.parse(headers?.date ?? '')
  return Number.isNaN(date) ? undefined : date
}
