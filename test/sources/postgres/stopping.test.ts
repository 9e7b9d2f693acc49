import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { compiled } from '../../helpers/compiled.js'
import { roomFor, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { capture, eventually, unpack } from './capturing.js'

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

  it('while tablespaces are staged removes what was staged', async () => {
    const cluster = await startCluster()
    await cluster.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(cluster, 'fast')}'`)
    const staging = temporaryDirectory()
    const stopping = new AbortController()
    const captured = await capture(cluster, { signal: stopping.signal, staging })
    const reason = new Error('stopped by a signal')
    const opening = captured.open(null)
    opening.catch(() => {})
    await eventually(cluster, noSlots, '1')
    const deadline = Date.now() + 90_000
    while (readdirSync(staging).length === 0) {
      if (Date.now() > deadline) throw new Error('nothing is staged')
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    stopping.abort(reason)
    await expect(opening).rejects.toBe(reason)
    await captured.close()
    expect(readdirSync(staging)).toEqual([])
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
  const [module, connection, staging, tar, pause] = process.argv.slice(1)
  const { captureCluster, lookAtCluster } = await import(module)
  const { createWriteStream } = await import('node:fs')
  const { Readable } = await import('node:stream')
  const { pipeline } = await import('node:stream/promises')
  const { signal } = new AbortController()
  const around = { env: process.env, signal, staging, now: () => new Date() }
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
  it('leaves no program and no slot behind when it is killed', async () => {
    const cluster = await startCluster()
    const room = temporaryDirectory()
    const args = [compiledCapture(), cluster.connection, room, join(room, 'killed.tar'), 'pause']
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
    const staging = join(room, 'staging')
    mkdirSync(staging)
    await execa('chown', [`${cluster.uid}:${cluster.gid}`, staging])
    const tar = join(room, 'own.tar')
    const args = ['--input-type=module', '-e', program, compiledCapture(), cluster.connection, staging, tar, 'on']
    const { stdout } = await cluster.run(process.execPath, args)
    expect(JSON.parse(stdout).facts).toMatchObject({ owner: cluster.user, uid: cluster.uid })
    expect(statSync(tar).uid).toBe(cluster.uid)
    expect(readdirSync(staging)).toEqual([])
    await cluster.run('pg_verifybackup', [await unpack(tar, cluster)])
  })
})
