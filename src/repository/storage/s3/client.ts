import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { AgentOptions, Agent as HttpAgent } from 'node:http'
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
  if (settings.endpoint !== undefined) {
    client.middlewareStack.add(next => args => next({ ...args, request: withMd5(args.request) }), {
      step: 'build',
      name: 'md5OfRequired',
      priority: 'low',
    })
  }
  return {
    client,
    sdk,
    serverNow: () => (last === undefined ? undefined : new Date(last.server + performance.now() - last.here)),
  }
}

async function configOf(settings: S3Settings): Promise<S3ClientConfig> {
  const own = settings.endpoint !== undefined
  const timeout = settings.timeout ?? TIMEOUT_MS
  const agent = { keepAlive: true, maxSockets: 64, ...(await authorities(settings.caFile)) }
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
      ...((await proxyAgents(settings, agent)) ?? { httpAgent: agent, httpsAgent: new Agent(agent) }),
    },
  }
}

/** The variables of the SDK's own that name another server. */
const endpointVariables = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'] as const

/**
 * Agents for the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), which the SDK does not look at;
 * undefined where there is none. Nothing is loaded for it without these variables.
 */
async function proxyAgents(
  { endpoint, bucket }: S3Settings,
  options: AgentOptions,
): Promise<{ httpAgent: HttpAgent; httpsAgent: Agent } | undefined> {
  if (!Object.keys(process.env).some(name => /^(?:https?|all)_proxy$/i.test(name))) return undefined
  const named = endpointVariables.map(name => process.env[name]).find(value => value !== undefined && value !== '')
  const { getProxyForUrl } = await import('proxy-from-env')
  const proxy = getProxyForUrl(endpoint ?? named ?? `https://${bucket}.s3.amazonaws.com`)
  if (proxy === '') return undefined
  const [{ HttpProxyAgent }, { HttpsProxyAgent }] = await Promise.all([
    import('http-proxy-agent'),
    import('https-proxy-agent'),
  ])
  return {
    httpAgent: new HttpProxyAgent(proxy, options),
    httpsAgent: new HttpsProxyAgent(proxy, options) as unknown as Agent,
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

/**
 * A request of which S3 requires a digest, with MD5 instead of the SDK's CRC32: all servers know it, and some refuse the
 * new ones.
 */
function withMd5(request: unknown): unknown {
  const { headers, body } = request as { headers: Record<string, string>; body?: unknown }
  const added = Object.keys(headers).filter(name => /^x-amz-(?:checksum-|sdk-checksum-algorithm)/i.test(name))
  if (added.length === 0 || (typeof body !== 'string' && !(body instanceof Uint8Array))) return request
  for (const name of added) delete headers[name]
  headers['content-md5'] = createHash('md5').update(body).digest('base64')
  return request
}

function dateOf(response: unknown): number | undefined {
  const headers = (response as { headers?: Record<string, string> } | undefined)?.headers
  const date = Date.parse(headers?.date ?? '')
  return Number.isNaN(date) ? undefined : date
}
