import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'
import { inEnvironment, placeFromUrl } from '../../src/config/s3-url.js'
import type { RepositoryPlace } from '../../src/repository/storage/place.js'
import { server } from './repository-kind.js'

/** What lies in a repository, wherever it is: to be looked at, and to be harmed. Names are relative to it. */
export interface Stored {
  /** Whether there is anything of it. */
  exists(): boolean
  /** Names of all files below a directory of it, sorted. */
  files(directory?: string): string[]
  /** What is directly in a directory of it, sorted, relative to that. */
  entries(directory: string): string[]
  read(name: string): Buffer
  write(name: string, bytes: string | Uint8Array): void
  /** Removes a file, or a directory with all that is in it. */
  remove(name: string): void
  size(name: string): number
  /** Uploads that nobody ended: they cost money and nobody sees them. */
  unfinished(): string[]
  /** Puts all of it into another repository of the same kind, which must be new. */
  copyTo(location: string): void
  /** A directory with all of it: itself, or what any client downloads. Removed when the test ends. */
  asDirectory(): string
}

/** @param location as `--repo` takes it */
export function storedIn(location: string): Stored {
  const [, bucket, prefix] = /^s3:\/\/([^/]+)\/(.+)$/.exec(location) ?? []
  return bucket === undefined || prefix === undefined ? inDirectory(location) : inPrefix(bucket, `${prefix}/`)
}

/** A location as the library takes it. */
export function placeAt(location: string): RepositoryPlace {
  return location.startsWith('s3://') ? inEnvironment(placeFromUrl(location), process.env) : { path: location }
}

/** Ids of a source's committed backups, oldest first. */
export function idsIn(location: string, source: string): string[] {
  return storedIn(location)
    .entries(source)
    .filter(name => /^\d{8}T.*-(full|diff|incr)-/.test(name))
}

function inDirectory(root: string): Stored {
  return {
    exists: () => existsSync(root),
    files(directory = '') {
      if (!existsSync(join(root, directory))) return []
      return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
        .filter(entry => entry.isFile())
        .map(entry => relative(root, join(entry.parentPath, entry.name)))
        .sort()
    },
    entries: directory => (existsSync(join(root, directory)) ? readdirSync(join(root, directory)).sort() : []),
    read: name => readFileSync(join(root, name)),
    write(name, bytes) {
      mkdirSync(dirname(join(root, name)), { recursive: true })
      writeFileSync(join(root, name), bytes)
    },
    remove: name => rmSync(join(root, name), { recursive: true }),
    size: name => statSync(join(root, name)).size,
    unfinished: () => [],
    copyTo: location => cpSync(root, location, { recursive: true, preserveTimestamps: true }),
    asDirectory: () => root,
  }
}

function inPrefix(Bucket: string, prefix: string): Stored {
  const list = (below: string) => {
    const found: { name: string; size: number }[] = []
    for (let ContinuationToken: string | undefined, more = true; more; ) {
      const page = callS3('ListObjectsV2Command', { Bucket, Prefix: prefix + below, ContinuationToken })
      for (const { Key, Size } of page.Contents ?? []) found.push({ name: Key.slice(prefix.length), size: Size })
      ContinuationToken = page.NextContinuationToken
      more = ContinuationToken !== undefined
    }
    return found
  }
  const files = (directory = '') => list(directory === '' ? '' : `${directory}/`).map(({ name }) => name)
  const read = (name: string) => Buffer.from(callS3('GetObjectCommand', { Bucket, Key: prefix + name }).Body)
  return {
    exists: () => list('').length > 0,
    files: directory => files(directory).sort(),
    entries(directory) {
      const names = files(directory).map(name => name.slice(directory === '' ? 0 : directory.length + 1))
      return [...new Set(names.map(name => name.split('/')[0] ?? ''))].sort()
    },
    read,
    write: (name, bytes) => void callS3('PutObjectCommand', { Bucket, Key: prefix + name, Body: Buffer.from(bytes) }),
    remove(name) {
      const found = name === '' ? files() : list(name).map(each => each.name)
      const own = found.filter(each => name === '' || each === name || each.startsWith(`${name}/`))
      if (own.length === 0) throw new Error(`there is no ${name} in ${Bucket}/${prefix}`)
      for (const each of own) callS3('DeleteObjectCommand', { Bucket, Key: prefix + each })
    },
    size: name => list(name).find(each => each.name === name)?.size ?? Number.NaN,
    unfinished() {
      const { Uploads = [] } = callS3('ListMultipartUploadsCommand', { Bucket, Prefix: prefix })
      return Uploads.map(({ Key }: { Key: string }) => Key.slice(prefix.length))
    },
    copyTo(location) {
      const [, other, to] = /^s3:\/\/([^/]+)\/(.+)$/.exec(location) ?? []
      for (const name of files()) {
        const CopySource = `${Bucket}/${prefix}${name}`
        callS3('CopyObjectCommand', { Bucket: other, Key: `${to}/${name}`, CopySource })
      }
    },
    asDirectory() {
      const directory = mkdtempSync(join(tmpdir(), 'nexus-backup-downloaded-'))
      onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
      for (const name of files()) {
        mkdirSync(dirname(join(directory, name)), { recursive: true })
        writeFileSync(join(directory, name), read(name))
      }
      return directory
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: what the server answered
type Answer = any

let call: ((command: string, input: object) => Answer) | undefined

/** Asks the server and waits for its answer, as the functions of node:fs do: tests look in the middle of what happens. */
function callS3(command: string, input: object): Answer {
  call ??= startCaller()
  return call(command, input)
}

function startCaller(): (command: string, input: object) => Answer {
  if (server === undefined) throw new Error('there is no server: NEXUS_TEST_REPOSITORY says so')
  const { endpoint, accessKeyId, secretAccessKey, env } = server
  const { port1, port2 } = new MessageChannel()
  const woken = new Int32Array(new SharedArrayBuffer(4))
  const settings = {
    endpoint,
    region: env.AWS_REGION,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    credentials: { accessKeyId, secretAccessKey },
  }
  const workerData = { port: port2, woken, settings }
  new Worker(new URL('s3-worker.mjs', import.meta.url), { workerData, transferList: [port2] }).unref()
  port1.unref()
  return (command, input) => {
    Atomics.store(woken, 0, 0)
    port1.postMessage({ command, input })
    Atomics.wait(woken, 0, 0)
    const { output, failure } = receiveMessageOnPort(port1)?.message ?? { failure: 'no answer' }
    if (failure !== undefined) throw new Error(`${command} ${JSON.stringify(input).slice(0, 200)}: ${failure}`)
    return output
  }
}
