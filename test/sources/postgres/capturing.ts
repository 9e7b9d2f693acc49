import { chmodSync, createWriteStream, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import { onTestFinished } from 'vitest'
import {
  type CaptureWishes,
  type ClusterCapture,
  captureCluster,
  lookAtCluster,
} from '../../../src/sources/postgres/capture.js'
import type { TreeOutcome } from '../../../src/sources/tree-capture.js'
import { roomFor, type TestCluster } from '../../helpers/postgres.js'

export interface CaptureOptions {
  connection?: string
  dataDirectory?: string | null
  binDirectory?: string
  env?: Record<string, string>
  signal?: AbortSignal
  wishes?: CaptureWishes
}

/** Prepares the capture of a cluster as a run of create does. Closed when the test ends, at the latest. */
export async function capture(cluster: TestCluster, options: CaptureOptions = {}): Promise<ClusterCapture> {
  const { connection = cluster.connection, dataDirectory = null } = options
  const around = {
    env: { PATH: process.env.PATH ?? '', HOME: '/nonexistent', ...options.env },
    signal: options.signal ?? new AbortController().signal,
    now: () => new Date(),
  }
  const settings = { name: 'crm', connection, dataDirectory, binDirectory: options.binDirectory ?? null }
  const captured = await captureCluster(await lookAtCluster(settings, around), around, options.wishes)
  onTestFinished(() => captured.close())
  return captured
}

/** Takes a base backup into a file and returns what was found out. */
export async function backUpTo(
  path: string,
  cluster: TestCluster,
  options: CaptureOptions = {},
): Promise<TreeOutcome & { capture: ClusterCapture }> {
  const captured = await capture(cluster, options)
  try {
    const { tar } = await captured.open(null)
    await pipeline(Readable.from(tar), createWriteStream(path))
    return { ...(await captured.finish()), capture: captured }
  } finally {
    await captured.close()
  }
}

let restored = 0

/** Unpacks an archive with tar alone, as the server's user, into a data directory of its own. */
export async function unpack(tar: string, cluster: TestCluster): Promise<string> {
  const directory = roomFor(cluster, `restored-${restored++}`)
  await execa('tar', ['-x', '-p', '-f', tar, '-C', directory])
  chmodSync(directory, 0o700)
  return directory
}

/** A directory in the cluster's room for archives, of ours. */
export function archiveRoom(cluster: TestCluster): string {
  const path = join(cluster.room, 'archives')
  mkdirSync(path, { recursive: true })
  return path
}

/** What a SQL query must come to, asked again until it does. */
export async function eventually(cluster: TestCluster, sql: string, wanted: string): Promise<void> {
  const deadline = Date.now() + 90_000
  for (;;) {
    const answer = await cluster.psql(sql)
    if (answer === wanted) return
    if (Date.now() > deadline) throw new Error(`${sql} is ${answer}, not ${wanted}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** Where archives of this process pass through on their way. */
export function pipeRooms(): string[] {
  const own = new RegExp(`^nexus-backup-(?:pipes|base)-${process.pid}-`)
  return readdirSync('/tmp').flatMap(name => (own.test(name) ? [join('/tmp', name)] : []))
}
