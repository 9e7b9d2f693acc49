import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** What befalls one request on its way to the server and back. */
export type Fault =
  /** The connection breaks before the server hears of it. */
  | 'reset'
  /** The connection breaks in the middle of the request's body. */
  | 'reset in body'
  /** The server does as it is told, and its answer is lost. */
  | 'answer lost'
  /** The connection breaks in the middle of the answer's body. */
  | 'reset in answer'
  /** The answer ends early, as if it were whole. */
  | 'answer cut'
  | '500'
  | '503 SlowDown'
  | '403'
  | '501'
  /** As of an object in an archive class: a fake, for no server that can be installed has one (anchors/s3-server.md). */
  | 'frozen'
  /** The condition of a write does not hold. */
  | '412'
  /** Success without anything done: as of a request to thaw. */
  | 'accepted'
  /** Nobody answers. */
  | 'stall'
  | 'stall in answer'
  /** The answer that a condition does not hold becomes a success, as of a server that does not know it. */
  | 'unconditional'

/** A proxy between us and the server. Requests are numbered from 1; signatures stay valid, for the Host is kept. */
export interface FaultProxy {
  endpoint: string
  /** Requests seen: `PUT /bucket/key`. */
  seen: string[]
  /** Decides on each request; undefined lets it pass. */
  rule: (number: number, what: string, isConditional: boolean) => Fault | undefined | Promise<Fault | undefined>
}

/** Starts a proxy for the running test. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  const sockets = new Set<Socket>()
  const proxy: FaultProxy = { endpoint: '', seen: [], rule: () => undefined }
  const server = createServer((incoming, answer) => {
    const what = `${incoming.method} ${incoming.url}`
    proxy.seen.push(what)
    // What breaks off here breaks off on purpose.
    incoming.on('error', () => {})
    answer.on('error', () => {})
    const isConditional = incoming.headers['if-none-match'] === '*'
    const fault = Promise.resolve(proxy.rule(proxy.seen.length, what, isConditional))
    void fault.then(found => befall(found, { target, incoming, answer }))
  })
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  proxy.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return proxy
}

interface Passing {
  target: string
  incoming: IncomingMessage
  answer: ServerResponse
}

function befall(fault: Fault | undefined, passing: Passing): void {
  const { incoming, answer } = passing
  const refuse = (status: number, code: string) => {
    incoming.resume().once('end', () => {
      answer.writeHead(status, { 'content-type': 'application/xml', date: new Date().toUTCString() })
      answer.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>by the proxy</Message></Error>`)
    })
  }
  switch (fault) {
    case 'reset':
      incoming.socket.resetAndDestroy()
      return
    case 'reset in body':
      if (incoming.method === 'GET') incoming.socket.resetAndDestroy()
      else incoming.once('data', () => incoming.socket.resetAndDestroy()).once('end', () => incoming.socket.destroy())
      return
    case 'stall':
      incoming.resume()
      return
    case '500':
      refuse(500, 'InternalError')
      return
    case '503 SlowDown':
      refuse(503, 'SlowDown')
      return
    case '403':
      refuse(403, 'AccessDenied')
      return
    case '412':
      refuse(412, 'PreconditionFailed')
      return
    case 'frozen':
      refuse(403, 'InvalidObjectState')
      return
    case 'accepted':
      incoming.resume().once('end', () => answer.writeHead(202, { date: new Date().toUTCString() }).end())
      return
    case '501':
      refuse(501, 'NotImplemented')
      return
    default:
      pass(passing, fault)
  }
}

function pass({ target, incoming, answer }: Passing, fault: Fault | undefined): void {
  const { hostname, port } = new URL(target)
  const headers = { ...incoming.headers }
  const options = { hostname, port, method: incoming.method, path: incoming.url, headers, agent: false as const }
  const outgoing = request(options, response => {
    const pieces: Buffer[] = []
    response.on('data', piece => pieces.push(piece))
    response.once('end', () => {
      const body = Buffer.concat(pieces)
      if (fault === 'answer lost') {
        incoming.socket.resetAndDestroy()
        return
      }
      const ignored = fault === 'unconditional' && response.statusCode === 412
      if (ignored) {
        answer.writeHead(200, { date: response.headers.date, etag: '"0"' }).end()
        return
      }
      answer.writeHead(response.statusCode ?? 502, response.headers)
      if (fault === undefined || fault === 'unconditional' || body.byteLength === 0) {
        answer.end(body)
        return
      }
      answer.flushHeaders()
      answer.write(body.subarray(0, body.byteLength / 2), () => {
        if (fault === 'reset in answer') incoming.socket.resetAndDestroy()
        else if (fault === 'answer cut') incoming.socket.end()
      })
    })
  })
  outgoing.on('error', () => incoming.socket.destroy())
  incoming.pipe(outgoing)
}
