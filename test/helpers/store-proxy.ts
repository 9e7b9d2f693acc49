import { createServer, type IncomingHttpHeaders, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'
import { onTestFinished } from 'vitest'
import type { S3Server } from './s3-server.js'

/** A request whose body has arrived. */
export interface Asked {
  method: string
  /** Path with its leading slash, decoded: `/bucket/key`. */
  path: string
  query: URLSearchParams
  headers: IncomingHttpHeaders
  body: Buffer
}

export interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

/** How a store differs from the real server behind it; undefined lets the server answer. */
export type Behaviour = (asked: Asked, server: S3Server) => Promise<Answer | undefined> | Answer | undefined

export interface StoreProxy {
  endpoint: string
  seen: Asked[]
  /** Requests that followed one another, each after the answer to the one before: what a store far away makes of the time. */
  rounds: number
  /** Connections that were made to it. */
  connections: number
  /** Milliseconds by which all but leases looks older in listings. */
  aged: number
}

/** Puts a proxy before the real server that answers as another kind of store would. */
export async function storeProxy(server: S3Server, ...behaviours: Behaviour[]): Promise<StoreProxy> {
  const proxy: StoreProxy = { endpoint: '', seen: [], rounds: 0, connections: 0, aged: 0 }
  const sockets = new Set<Socket>()
  const listener = createServer(async (incoming, outgoing) => {
    const url = new URL(incoming.url ?? '/', 'http://store')
    const round = proxy.rounds + 1
    outgoing.on('finish', () => {
      proxy.rounds = Math.max(proxy.rounds, round)
    })
    const pieces: Buffer[] = []
    for await (const piece of incoming) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const { method = '', headers } = incoming
    const asked = { method, path: decodeURIComponent(url.pathname), query: url.searchParams, headers, body }
    proxy.seen.push(asked)
    const isListing = method === 'GET' && url.searchParams.get('list-type') === '2'
    const aged = (text: string) => (isListing && proxy.aged > 0 ? older(text, proxy.aged) : text)
    for (const behaviour of behaviours) {
      const answer = await behaviour(asked, server)
      if (answer === undefined) continue
      const date = new Date().toUTCString()
      outgoing.writeHead(answer.status, { date, 'content-type': 'application/xml', ...answer.headers })
      outgoing.end(aged(answer.body))
      return
    }
    const { hostname, port } = new URL(server.endpoint)
    const passing = { hostname, port, method, path: incoming.url, headers, agent: false as const }
    request(passing, async response => {
      const answered: Buffer[] = []
      for await (const piece of response) answered.push(piece as Buffer)
      const { 'content-length': length, 'transfer-encoding': _, ...rest } = response.headers
      const headers = isListing || length === undefined ? rest : { ...rest, 'content-length': length }
      outgoing.writeHead(response.statusCode ?? 502, headers)
      outgoing.end(isListing ? aged(Buffer.concat(answered).toString()) : Buffer.concat(answered))
    })
      .on('error', () => outgoing.destroy())
      .end(body)
  })
  listener.on('connection', socket => {
    proxy.connections += 1
    sockets.add(socket.on('error', () => {}))
  })
  await new Promise<void>(resolve => listener.listen(0, '127.0.0.1', resolve))
  proxy.endpoint = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  return proxy
}

function older(listing: string, age: number): string {
  return listing.replace(/<Contents>.*?<\/Contents>/gs, entry =>
    entry.includes('/locks/')
      ? entry
      : entry.replace(/(?<=<LastModified>)[^<]+/, date => new Date(Date.parse(date) - age).toISOString()),
  )
}

export function refusal(status: number, code: string, message = 'by the proxy'): Answer {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`
  return { status, headers: {}, body }
}

function isConditional({ method, headers }: Asked): boolean {
  return method === 'PUT' && headers['if-none-match'] !== undefined
}

function placeOf({ path }: Asked): { Bucket: string; Key: string } {
  const [, Bucket = '', Key = ''] = /^\/([^/]+)\/(.*)$/s.exec(path) ?? []
  return { Bucket, Key }
}

/** A conditional write is carried out as if the condition were not there. */
export const ignoresCondition: Behaviour = async (asked, { client }) => {
  if (!isConditional(asked)) return undefined
  const { ETag = '' } = await client.send(new PutObjectCommand({ ...placeOf(asked), Body: asked.body }))
  return { status: 200, headers: { etag: ETag }, body: '' }
}

export function refusesCondition(status: number, code: string): Behaviour {
  return asked => (isConditional(asked) ? refusal(status, code, 'A header you provided is not implemented') : undefined)
}

/** The first conditional writes of every name meet another that is under way. */
export function conflicts(times: number): Behaviour {
  const counts = new Map<string, number>()
  return asked => {
    if (!isConditional(asked)) return undefined
    const count = (counts.get(asked.path) ?? 0) + 1
    counts.set(asked.path, count)
    return count > times ? undefined : refusal(409, 'ConditionalRequestConflict')
  }
}

/** All parts of an upload but the last must have one size. */
export function equalParts(): Behaviour {
  const sizes = new Map<string, Map<number, number>>()
  return ({ method, query, body }) => {
    const upload = query.get('uploadId')
    if (upload === null) return undefined
    const parts = sizes.get(upload) ?? new Map<number, number>()
    sizes.set(upload, parts)
    if (method === 'PUT') parts.set(Number(query.get('partNumber')), body.byteLength)
    if (method !== 'POST') return undefined
    const all = [...parts].sort(([a], [b]) => a - b).map(([, size]) => size)
    const isEqual = new Set(all.slice(0, -1)).size < 2
    return isEqual ? undefined : refusal(400, 'InvalidPart', 'All non-trailing parts must have the same length.')
  }
}

export function atMostParts(most: number): Behaviour {
  return ({ method, query }) =>
    method === 'PUT' && Number(query.get('partNumber')) > most
      ? refusal(400, 'InvalidArgument', `Part number must be an integer between 1 and ${most}, inclusive`)
      : undefined
}

/** None of the SDK's new checksums, neither as a header nor at the end of a body. */
export const noChecksums: Behaviour = ({ headers }) => {
  const isNew = Object.keys(headers).some(name => /^x-amz-(?:checksum-|trailer|sdk-checksum-algorithm)/.test(name))
  return isNew || headers['content-encoding']?.includes('aws-chunked')
    ? refusal(501, 'NotImplemented', 'A header you provided implies functionality that is not implemented')
    : undefined
}

/** What is to be locked must come with its MD5: objects, and parts of uploads that began with a lock. */
export function wantsDigests(): Behaviour {
  const locked = new Set<string>()
  return ({ method, path, query, headers }) => {
    const isLocked = headers['x-amz-object-lock-mode'] !== undefined
    if (method === 'POST' && query.has('uploads') && isLocked) locked.add(path)
    const isBound = isLocked || (query.has('partNumber') && locked.has(path)) || query.has('retention')
    return method === 'PUT' && isBound && headers['content-md5'] === undefined
      ? refusal(400, 'InvalidRequest', 'Content-MD5 HTTP header is required for requests with Object Lock parameters')
      : undefined
  }
}

/**
 * Listings of two names a page and empty pages between them, without KeyCount and IsTruncated, in whole seconds, each name
 * twice and the last one first, and from the beginning whatever StartAfter says.
 */
export const oddPages: Behaviour = async ({ method, path, query }, { client }) => {
  if (method !== 'GET' || query.get('list-type') !== '2') return undefined
  const token = query.get('continuation-token') ?? ''
  const [, wasEmpty = '', inner = ''] = /^(e?)(.*)$/s.exec(token) ?? []
  const asked = {
    Bucket: path.split('/')[1] ?? '',
    Prefix: query.get('prefix') ?? '',
    Delimiter: query.get('delimiter') ?? undefined,
    MaxKeys: 2,
    ContinuationToken: inner === '' ? undefined : inner,
  }
  // Every other page is empty and says that there is more.
  const isEmpty = wasEmpty === '' && inner !== ''
  const page = isEmpty
    ? { IsTruncated: true, NextContinuationToken: inner, Contents: [], CommonPrefixes: [] }
    : await client.send(new ListObjectsV2Command(asked))
  const next = page.NextContinuationToken ?? ''
  const twice = <T>(entries: readonly T[]) => [...entries, ...entries].reverse()
  const seconds = (date: Date | undefined) => `${(date ?? new Date(0)).toISOString().slice(0, 19)}.000Z`
  const body = [
    '<?xml version="1.0"?><ListBucketResult>',
    page.IsTruncated === true ? `<NextContinuationToken>${isEmpty ? 'e' : ''}${next}</NextContinuationToken>` : '',
    ...twice(page.Contents ?? []).map(
      ({ Key, Size, LastModified }) =>
        `<Contents><Key>${Key}</Key><LastModified>${seconds(LastModified)}</LastModified><Size>${Size}</Size></Contents>`,
    ),
    ...twice(page.CommonPrefixes ?? []).map(
      ({ Prefix }) => `<CommonPrefixes><Prefix>${Prefix}</Prefix></CommonPrefixes>`,
    ),
    '</ListBucketResult>',
  ].join('')
  return { status: 200, headers: {}, body }
}
