import { createHash } from 'node:crypto'
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { compress } from 'zstd-napi'
import { prettyJson } from '../../src/repository/json.js'
import { fitting, formatSummary } from '../../src/repository/summary.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { type HostilePlace, hostilePlace } from '../operations/hostile-objects.js'
import { binary, startProcess } from './helpers/run.js'

/** What a reader may take, whatever lies in a repository. */
const MOST_MIB = 300
/**
 * Seconds of the processor. The aim is 5 on a usual machine, which is measured and not tested: this tells what is bounded,
 * on any machine, from what grows with the object and takes minutes.
 */
const MOST_CPU_SECONDS = 40

/** Has a process tell at its end what it took: not its `maxRSS`, which begins with that of who started it. */
const telling = `data:text/javascript,${encodeURIComponent(`
  import { readFileSync } from 'node:fs'
  process.on('exit', () => {
    const [, kib] = /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
    const { user, system } = process.cpuUsage()
    process.stderr.write('\\ntook ' + kib / 1024 + ' ' + (user + system) / 1e6 + '\\n')
  })`)}`

/** Runs Node, and makes sure that it takes little. */
async function inLittle(args: readonly string[], what: string): Promise<{ code: number | null; text: string }> {
  const { code, stdout, stderr } = await startProcess(process.execPath, ['--import', telling, ...args]).done
  const [, mib, seconds] = /^took (\S+) (\S+)$/m.exec(stderr) ?? []
  expect(Number(mib), `${what}: MiB`).toBeLessThan(MOST_MIB)
  expect(Number(seconds), `${what}: seconds`).toBeLessThan(MOST_CPU_SECONDS)
  return { code, text: stdout + stderr }
}

async function place(): Promise<HostilePlace> {
  const made = await hostilePlace(false)
  onTestFinished(() => rmSync(made.directory, { recursive: true, force: true }))
  return made
}

/** Copies of a backup under ids of their own, whose manifests somebody makes larger. */
function copies(
  { repository, ids }: HostilePlace,
  first: number,
  count: number,
  write: (path: string, manifest: object) => void,
): void {
  const from = join(repository, 'app', ids[0] ?? '')
  const manifest = JSON.parse(readFileSync(join(from, 'manifest.json'), 'utf8'))
  for (let n = first; n < first + count; n += 1) {
    const id = `20240101T0000${String(n).padStart(2, '0')}.000Z-full-0000`
    const to = join(repository, 'app', id)
    cpSync(from, to, { recursive: true })
    write(join(to, 'manifest.json'), { ...manifest, id })
  }
}

/** @param bytes that the texts of its checks fill it up to */
function writeLarge(path: string, manifest: object, bytes: number, fill: string): void {
  const detail = fill.repeat(Math.floor(100_000 / fill.length))
  const check = { name: 'SELECT text FROM items', kind: 'content', status: 'ok', detail }
  const size = Buffer.byteLength(JSON.stringify(check)) + 100
  const text = prettyJson({ ...manifest, checks: Array(Math.floor((bytes - 8192) / size)).fill(check) })
  writeFileSync(path, text)
  const sums = join(path, '../SHA256SUMS')
  const sum = createHash('sha256').update(text).digest('hex')
  writeFileSync(sums, readFileSync(sums, 'utf8').replace(/^[0-9a-f]{64}(?= {2}manifest\.json$)/m, sum))
}

const readers: [string, ...string[]][] = [
  ['list'],
  ['verify'],
  ['prune', 'app', '--keep-last', '1', '--dry-run'],
  ['pitr', 'points', 'app'],
  ['create', '--dry-run'],
]

async function expectRead(at: HostilePlace, codes: Record<string, number>): Promise<void> {
  const flags = ['--sqlite', at.database, '--repo', at.repository, '--state', join(at.directory, 'state')]
  const restore = ['restore', 'app', '--to', join(at.directory, 'restored.db')]
  for (const words of [...readers, restore]) {
    const { code, text } = await inLittle([binary, ...words, ...flags], words.join(' '))
    expect({ words, code, text }).toMatchObject({ code: codes[words[0] ?? ''] })
  }
}

describe('manifests that are large beyond reason', () => {
  it('take no memory however many there are, and the other backups are what they were', async () => {
    const at = await place()
    copies(at, 0, 40, path => truncateSync(path, 63 << 20))
    // Within the limit of one; what is written in another alphabet takes two bytes a character.
    copies(at, 40, 7, (path, manifest) => writeLarge(path, manifest, 8 << 20, 'item '))
    copies(at, 47, 7, (path, manifest) => writeLarge(path, manifest, 8 << 20, 'пункт '))
    await expectRead(at, { list: 4, verify: 4, prune: 4, pitr: 0, create: 0, restore: 0 })
  })

  it('are read all where they are what a backup with long results of checks has', async () => {
    const at = await place()
    copies(at, 0, 12, (path, manifest) => writeLarge(path, manifest, 1 << 20, 'item '))
    const flags = ['--repo', at.repository, '--state', join(at.directory, 'state')]
    const { code, text } = await inLittle([binary, 'list', '--json', ...flags], 'list')
    expect({ code, count: text.match(/"status":"ok"/g)?.length ?? text }).toEqual({ code: 0, count: 14 })
  })
})

describe('a summary', () => {
  const module = JSON.stringify(fileURLToPath(new URL('../../dist/repository/summary.js', import.meta.url)))
  const parsed = async (bytes: Uint8Array, what: string) => {
    const path = join(temporaryDirectory(), 'summary')
    writeFileSync(path, bytes)
    const script = `const{parseSummary}=await import(${module});const{readFileSync}=await import('node:fs');try{console.log('texts',parseSummary(readFileSync(${JSON.stringify(path)}),'it').size)}catch(e){console.log(e.code,e.message)}`
    return (await inLittle(['--input-type=module', '--eval', script], what)).text
  }

  it('that unpacks to hundreds of megabytes is damage', async () => {
    const bomb = compress(Buffer.alloc(400 << 20))
    expect(bomb.length).toBeLessThan(64 << 10)
    expect(await parsed(bomb, 'a bomb')).toContain('summary_damaged')
    // One that says that it holds little.
    const head = Buffer.from(formatSummary(new Map([['a', 'b']])))
    expect(await parsed(Buffer.concat([head, bomb]), 'a bomb behind a summary')).toContain('summary_damaged')
  })

  it.each([
    ['members', `{"format":1,"sha256":"${'0'.repeat(64)}","files":{${'"":"",'.repeat(5 << 20)}"":""}}\n`],
    ['depth', `{"format":1,"sha256":"${'0'.repeat(64)}","files":${'['.repeat(20 << 20)}}\n`],
  ])('of which one has too many %s is damage', async (what, text) => {
    const files = text.slice(text.indexOf('"files":') + 8, -2)
    const sum = createHash('sha256').update(files).digest('hex')
    expect(await parsed(compress(Buffer.from(text.replace('0'.repeat(64), sum))), what)).toContain('summary_damaged')
  })

  it('holds the files of the newest backups, as many as there is room for', async () => {
    const manifest = 'пример'.repeat(400)
    const texts = new Map(
      Array.from({ length: 10_000 }, (_, n) => [`${String(n).padStart(8, '0')}T/manifest.json`, manifest] as const),
    )
    const kept = fitting(texts)
    expect(kept.size).toBeGreaterThan(5000)
    expect(kept.size).toBeLessThan(10_000)
    expect([...kept.keys()].at(-1)).toBe('00009999T/manifest.json')
    expect(await parsed(formatSummary(kept), 'the largest')).toContain(`texts ${kept.size}`)
  })
})
