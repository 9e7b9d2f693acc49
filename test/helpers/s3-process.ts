import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { onceARun, runDirectory } from './once-a-run.js'

const script = new URL('s3-server.sh', import.meta.url).pathname

/** Name of the directory of the server that all test files of a run share. */
const SHARED = 's3'

export interface S3Process {
  directory: string
  /** For HTTP; HTTPS has the second one after it. */
  port: number
}

export interface S3Keys {
  accessKeyId: string
  secretAccessKey: string
}

/** The server that all test files of a run share, each with buckets of its own; the first that needs it starts it. */
export function sharedServer(keys: S3Keys): Promise<S3Process> {
  return onceARun(SHARED, directory => startServer(directory, keys))
}

/** Ends the shared server, if one was started. */
export function stopSharedServer(): void {
  const directory = join(runDirectory(), SHARED)
  if (existsSync(directory)) stopServer(directory)
}

/** Starts a server that has its files in an empty directory. */
export async function startServer(
  directory: string,
  { accessKeyId, secretAccessKey }: S3Keys,
  tlsCert?: string,
): Promise<S3Process> {
  if (spawnSync('radosgw', ['--version']).error) {
    throw new Error(
      'no object store to test with: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd, or set NEXUS_TEST_S3_ENDPOINT, NEXUS_TEST_S3_ACCESS_KEY and NEXUS_TEST_S3_SECRET_KEY',
    )
  }
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
  return { directory, port }
}

export function stopServer(directory: string): void {
  execFileSync(script, ['stop', directory])
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
