import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { s3Location } from '../../../src/repository/storage/s3/settings.js'
import type { S3Server } from '../../helpers/s3-server.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './database.js'
import { atMoments } from './kills.js'
import { type Place, place } from './place.js'
import { type Finished, type Running, run, start } from './run.js'
import { atWrites, type Begin } from './write-kills.js'

/** Loading takes the first part of a run: nothing is written then. */
const WRITES_FROM = 0.4

/** An encrypted repository, local or in a bucket, with a backup in it, and key files. */
export interface KeyedPlace {
  at: Place
  /** Makes a key file that opens nothing yet. */
  newKey(): Promise<string>
  /** `nexus-backup keys …` on this repository, with these key files at hand. */
  keys(words: readonly string[], held: readonly string[]): Promise<Finished>
  startKeys(words: readonly string[], held: readonly string[], env?: Record<string, string>): Running
  /** Ids of those who open the current epoch. */
  recipients(): Promise<string[]>
  /** Backups go on, and each of these keys opens all there are. */
  expectOpen(readers: readonly string[]): Promise<void>
}

/** A place whose repository opens for this many new key files, which are returned with it. */
export async function keyedPlace(
  count: number,
  { server, directory }: { server?: S3Server | undefined; directory?: string } = {},
): Promise<{ here: KeyedPlace; held: string[] }> {
  const bucket = await server?.newPlace()
  const env = server?.env ?? {}
  const repository = bucket === undefined ? directory : s3Location(bucket)
  const at = place(temporaryDirectory(), { env, ...(repository === undefined ? {} : { repository }) })
  let [made, generation] = [0, 0]
  const newKey = async () => {
    made += 1
    const path = join(at.directory, `key-${made}`)
    expect(await run(['keys', 'create', path])).toMatchObject({ code: 0 })
    return path
  }
  const configured = (held: readonly string[]) => {
    const config = join(at.directory, 'config.yaml')
    const { bucket: name, prefix } = bucket ?? {}
    const where = bucket === undefined ? `path: ${at.repository}` : `s3: { bucket: ${name}, prefix: "${prefix}" }`
    const recipients = held.map(path => `{ key_file: ${path} }`).join(', ')
    const encryption = `encryption: { recipients: [${recipients}] }`
    const repositories = `repositories: { main: { ${where}, ${encryption} } }`
    writeFileSync(config, `state: ${at.state}\n${repositories}\nsources: {}\n`)
    return ['--config', config]
  }
  const words = (given: readonly string[], held: readonly string[]) => ['keys', ...given, ...configured(held)]
  const here: KeyedPlace = {
    at,
    newKey,
    keys: (given, held) => run(words(given, held), { env }),
    startKeys: (given, held, more) => start(words(given, held), { env: { ...env, ...more } }),
    async recipients() {
      const { stdout } = await run(['keys', 'list', '--repo', at.repository, '--state', at.state, '--json'], { env })
      const [{ epochs }] = JSON.parse(stdout).repositories
      return epochs.find(({ current }: { current: boolean }) => current).recipients.map(({ id }: { id: string }) => id)
    },
    async expectOpen(readers) {
      generation += 1
      await changeDatabase(at.database, generation)
      expect(await at.run('create')).toMatchObject({ code: 0, stderr: '' })
      const answers = await Promise.all(readers.map(key => at.json('verify', ['--key-file', key])))
      for (const { code, document, error } of answers) {
        expect([code, error]).toEqual([0, undefined])
        expect(document.results.filter((one: { status: string }) => one.status !== 'ok')).toEqual([])
      }
    },
  }
  const held: string[] = []
  for (let n = 0; n < count; n += 1) held.push(await newKey())
  await makeDatabase(at.database)
  const [first = '', ...more] = held
  await at.ok('create', ['--init', '--key-file', first])
  if (more.length > 0) {
    expect(await here.keys(['add', ...more.map(key => `key-file=${key}`)], held)).toMatchObject({ code: 0 })
  }
  return { here, held }
}

/** The id that a key file has as a recipient. */
export function idOfKey(path: string): string {
  return `key-${/key ([0-9a-f]{16})/.exec(readFileSync(path, 'utf8'))?.[1]}`
}

/** Kills runs: in a bucket as they write, in a directory at any moment after they were loaded. */
async function killed(
  count: number,
  server: S3Server | undefined,
  undisturbed: Begin,
  round: (kill: (begin: Begin) => Promise<void>, index: number) => Promise<void>,
): Promise<void> {
  if (server !== undefined) return atWrites(server, count, undisturbed, round)
  const { code, duration, stderr } = await undisturbed({}).done
  expect([code, stderr]).toEqual([0, expect.any(String)])
  return atMoments(count, duration, (kill, index) => round(begin => kill(begin({})), index), WRITES_FROM)
}

/** The code of the error that a run with `--json` ended with. */
function failureOf({ code, stderr }: Finished): string | undefined {
  if (code === 0) return undefined
  try {
    return JSON.parse(stderr).error.code
  } catch {
    return `${code}: ${stderr}`
  }
}

/** keys rotate, killed: whoever opened the repository opens it, backups go on, and the next rotation needs no help. */
export async function killRotations(count: number, server?: S3Server): Promise<void> {
  const { here, held } = await keyedPlace(2, { server })
  const rotate: Begin = env => here.startKeys(['rotate'], held, env)
  await killed(count, server, rotate, async kill => {
    await kill(rotate)
    await here.expectOpen(held)
    expect(await here.keys(['rotate'], held)).toMatchObject({ code: 0, stderr: '' })
  })
  await here.expectOpen(held)
  const restored = join(temporaryDirectory(), 'restored.db')
  const { id } = (await here.at.json('list')).document.backups[0]
  await here.at.ok('restore', [id, '--to', restored, '--key-file', held[1] ?? ''])
  expect(stateOf(restored)).toEqual(expectedState(0))
}

/** keys add, killed: nobody who was in is out, and the same words again let in who is missing. */
export async function killAdds(count: number, server?: S3Server): Promise<void> {
  const { here, held } = await keyedPlace(1, { server })
  const everybody = [...held]
  const three = async () => [await here.newKey(), await here.newKey(), await here.newKey()]
  const adding = (keys: readonly string[]) => ['add', ...keys.map(path => `key-file=${path}`)]
  const first = await three()
  everybody.push(...first)
  const undisturbed: Begin = env => here.startKeys(adding(first), held, env)
  await killed(count, server, undisturbed, async kill => {
    const fresh = await three()
    await kill(env => here.startKeys(adding(fresh), held, env))
    await here.expectOpen(held)
    const again = await here.keys([...adding(fresh), '--json'], held)
    // Killed after its last write: nothing was left to do.
    expect(failureOf(again)).toBe(again.code === 0 ? undefined : 'recipient_exists')
    everybody.push(...fresh)
    expect((await here.recipients()).sort()).toEqual(everybody.map(idOfKey).sort())
  })
  await here.expectOpen([everybody.at(1) ?? '', everybody.at(-1) ?? ''])
}

/** keys add that makes a plain repository an encrypted one, killed: the same words again make it one, with one first epoch. */
export async function killBeginnings(count: number, server?: S3Server): Promise<void> {
  const round = async (kill: ((running: Running) => Promise<void>) | undefined) => {
    const bucket = await server?.newPlace()
    const env = server?.env ?? {}
    const at = place(temporaryDirectory(), { env, ...(bucket === undefined ? {} : { repository: s3Location(bucket) }) })
    const key = join(at.directory, 'key')
    expect((await run(['keys', 'create', key])).code).toBe(0)
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const words = ['keys', 'add', `key-file=${key}`, '--repo', at.repository, '--state', at.state]
    if (kill === undefined) return (await run(words, { env })).duration
    await kill(start(words, { env }))
    // Killed after the epoch began and before it vouched for this host: what it makes counts once the words are said again.
    const between = await at.json('create')
    expect([0, 'host_untrusted']).toContain(between.code === 3 ? between.error.error.code : between.code)
    const again = await run([...words, '--json'], { env })
    expect(failureOf(again)).toBe(again.code === 0 ? undefined : 'recipient_exists')
    await changeDatabase(at.database, 1)
    await at.ok('create')
    const { code, document } = await at.json('verify', ['--key-file', key])
    expect(code).toBe(0)
    expect(document.results.length).toBeGreaterThan(1)
    const list = await run(['keys', 'list', '--repo', at.repository, '--state', at.state, '--json'], { env })
    const [{ hosts, encrypted }] = JSON.parse(list.stdout).repositories
    expect([encrypted, hosts]).toMatchObject([true, [{ is_trusted: true }]])
    return undefined
  }
  const duration = await round(undefined)
  await atMoments(count, duration ?? 0, async kill => void (await round(kill)), WRITES_FROM)
}

/** keys remove, killed: those who stay open everything, and the same words again take the one out of every epoch. */
export async function killRemovals(count: number, server?: S3Server): Promise<void> {
  const { here, held } = await keyedPlace(1, { server })
  /** Somebody who opens the last two epochs. */
  const enter = async () => {
    const leaving = await here.newKey()
    expect(await here.keys(['add', `key-file=${leaving}`], held)).toMatchObject({ code: 0 })
    expect(await here.keys(['rotate'], [...held, leaving])).toMatchObject({ code: 0 })
    return leaving
  }
  const first = await enter()
  const remove =
    (key: string): Begin =>
    env =>
      here.startKeys(['remove', idOfKey(key)], held, env)
  await killed(count, server, remove(first), async kill => {
    const leaving = await enter()
    await kill(remove(leaving))
    await here.expectOpen(held)
    const again = await here.keys(['remove', idOfKey(leaving), '--json'], held)
    expect(failureOf(again)).toBe(again.code === 0 ? undefined : 'recipient_not_found')
    expect(await here.recipients()).toEqual(held.map(idOfKey))
    // Out of every epoch: nothing at all opens.
    const { document } = await here.at.json('verify', ['--key-file', leaving])
    expect(new Set(document.results.map(({ status }: { status: string }) => status))).toEqual(new Set(['unread']))
  })
}

/** keys trust, killed: the same words again give the word, and verify then has nothing to say. */
export async function killTrusts(count: number, server?: S3Server): Promise<void> {
  const { here, held } = await keyedPlace(1, { server })
  const { at } = here
  const [key = ''] = held
  /** A host that nobody vouched for, which has made a backup. */
  const stranger = async (number: number) => {
    const state = join(at.directory, `state-${number}`)
    const env = server?.env ?? {}
    const flags = ['--sqlite', at.database, '--repo', at.repository, '--state', state]
    expect(await run(['create', ...flags], { env })).toMatchObject({ code: 3 })
    const list = await run(['keys', 'list', '--repo', at.repository, '--state', state, '--json'], { env })
    const { hosts } = JSON.parse(list.stdout).repositories[0]
    return hosts.find(({ is_trusted: isTrusted }: { is_trusted: boolean }) => !isTrusted).id as string
  }
  const { code, duration } = await here.keys(['trust', await stranger(0)], held)
  expect(code).toBe(0)
  const round = async (kill: (running: Running) => Promise<void>, index: number) => {
    const id = await stranger(index + 1)
    await kill(here.startKeys(['trust', id], held))
    expect(await at.run('create')).toMatchObject({ code: 0 })
    expect(await here.keys(['trust', id], held)).toMatchObject({ code: 0, stderr: '' })
    expect(await at.run('verify', ['--key-file', key])).toMatchObject({ code: 0, stderr: '' })
  }
  await atMoments(count, duration, round, WRITES_FROM)
}

/** keys create, killed: there is a whole key file or none, and the same words again make it. */
export async function killKeyMaking(count: number): Promise<void> {
  const directory = temporaryDirectory()
  mkdirSync(directory, { recursive: true })
  const { duration } = await run(['keys', 'create', join(directory, 'first')])
  await atMoments(count, duration, async (kill, index) => {
    const path = join(directory, `key-${index}`)
    await kill(start(['keys', 'create', path]))
    if (!existsSync(path)) expect(await run(['keys', 'create', path])).toMatchObject({ code: 0 })
    expect(readFileSync(path, 'utf8')).toMatch(/^NEXUS-BACKUP-KEY-1-[\w-]{43}$/m)
    expect(readdirSync(directory).filter(name => name === `key-${index}`)).toHaveLength(1)
  })
}
