import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compiled } from '../../helpers/compiled.js'
import { roomFor, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { capture, eventually, pipeRooms, unpack } from './capturing.js'

const noSlots = 'SELECT count(*) FROM pg_replication_slots'
const noSenders = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"

/** Programs of anybody's that name a path in their command line or run in it. */
function programsOf(cluster: TestCluster): string[] {
  return readdirSync('/proc').flatMap(pid => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ')
      return /^\d+$/.test(pid) && words.includes(`host=${cluster.room}`) ? [words] : []
    } catch {
      return []
    }
  })
}

async function untilGone(cluster: TestCluster): Promise<void> {
  await eventually(cluster, noSlots, '0')
  await eventually(cluster, noSenders, '0')
}

describe('a capture that is aborted', () => {
  it('half-way ends its programs and leaves no slot', async () => {
    const cluster = await startCluster()
    const stopping = new AbortController()
    const captured = await capture(cluster, { signal: stopping.signal })
    const { tar } = await captured.open(null)
    const reason = new Error('stopped by a signal')
    const reading = (async () => {
      for await (const _ of tar) {
        expect(await cluster.psql(noSlots)).toBe('1')
        expect(programsOf(cluster).some(words => words.includes('pg_basebackup'))).toBe(true)
        stopping.abort(reason)
      }
    })()
    await expect(reading).rejects.toBe(reason)
    await captured.close()
    expect(programsOf(cluster)).toEqual([])
    await untilGone(cluster)
  })

  it('before it began does nothing', async () => {
    const cluster = await startCluster()
    const stopping = new AbortController()
    const captured = await capture(cluster, { signal: stopping.signal })
    const reason = new Error('stopped by a signal')
    stopping.abort(reason)
    await expect(captured.open(null)).rejects.toBe(reason)
    await captured.close()
    await untilGone(cluster)
  })

  it('while tablespaces are sent ends its programs and leaves no pipe', async () => {
    const cluster = await startCluster()
    await cluster.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(cluster, 'fast')}'`)
    const stopping = new AbortController()
    const captured = await capture(cluster, { signal: stopping.signal })
    const reason = new Error('stopped by a signal')
    const { tar } = await captured.open(null)
    expect(pipeRooms()).not.toEqual([])
    const reading = (async () => {
      for await (const _ of tar) stopping.abort(reason)
    })()
    await expect(reading).rejects.toBe(reason)
    await captured.close()
    expect(pipeRooms()).toEqual([])
    expect(programsOf(cluster)).toEqual([])
    await untilGone(cluster)
  })

  it('that nobody reads can be closed at once', async () => {
    const cluster = await startCluster()
    const captured = await capture(cluster)
    await captured.open(null)
    await captured.close()
    expect(programsOf(cluster)).toEqual([])
    await untilGone(cluster)
  })
})

/** A process that captures a cluster into a file, pausing after the first bytes when told to. */
const program = `
  const [module, connection, tar, pause] = process.argv.slice(1)
  const { captureCluster, lookAtCluster } = await import(module)
  const { createWriteStream } = await import('node:fs')
  const { Readable } = await import('node:stream')
  const { pipeline } = await import('node:stream/promises')
  const { signal } = new AbortController()
  const around = { env: process.env, signal, now: () => new Date() }
  const known = await lookAtCluster({ name: 'crm', connection, dataDirectory: null, binDirectory: null }, around)
  const capture = await captureCluster(known, around)
  const input = await capture.open(null)
  const chunks = async function* () {
    for await (const chunk of input.tar) {
      yield chunk
      if (pause === 'pause') { console.log('half-way'); await new Promise(resolve => setTimeout(resolve, 600_000)) }
    }
  }
  await pipeline(Readable.from(chunks()), createWriteStream(tar))
  const { facts, warnings } = await capture.finish()
  await capture.close()
  console.log(JSON.stringify({ facts, warnings }))
`

function compiledCapture(): string {
  const directory = compiled(['sources/postgres/capture.ts'])
  chmodSync(directory, 0o755)
  return join(directory, 'sources/postgres/capture.js')
}

describe('a process that captures', () => {
  it.each([
    'a plain cluster',
    'one with tablespaces',
  ])('of %s leaves no program and no slot behind when it is killed', async kind => {
    const cluster = await startCluster()
    if (kind !== 'a plain cluster') {
      await cluster.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(cluster, 'fast')}'`)
    }
    const args = [compiledCapture(), cluster.connection, join(temporaryDirectory(), 'killed.tar'), 'pause']
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    expect(await cluster.psql(noSlots)).toBe('1')
    child.kill('SIGKILL')
    await once(child, 'exit')
    await untilGone(cluster)
    expect(programsOf(cluster)).toEqual([])
  })

  it.skipIf(process.getuid?.() !== 0)('may be the server’s own user, with tablespaces too', async () => {
    const cluster = await startCluster()
    await cluster.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(cluster, 'fast')}'`)
    await cluster.psql('CREATE TABLE t TABLESPACE fast AS SELECT g FROM generate_series(1, 1000) g')
    const room = roomFor(cluster, 'own')
    const tar = join(room, 'own.tar')
    const args = ['--input-type=module', '-e', program, compiledCapture(), cluster.connection, tar, 'on']
    const { stdout } = await cluster.run(process.execPath, args)
    expect(JSON.parse(stdout).facts).toMatchObject({ owner: cluster.user, uid: cluster.uid })
    expect(statSync(tar).uid).toBe(cluster.uid)
    await cluster.run('pg_verifybackup', [await unpack(tar, cluster)])
  })
})
