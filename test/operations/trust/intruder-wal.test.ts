import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { verify } from '../../../src/operations/verify.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { system } from '../../sources/postgres/segments.js'
import { listeningJournal } from '../application.js'
import { accessWith, keyFile } from '../sealing/encrypted.js'
import { type WalCalls, walCalls } from '../wal/calls.js'

/** Two archived segments and a history. */
interface Scene {
  at: WalCalls
  context: Context
  key: string
  owner: () => Promise<unknown>
}

const FIRST = '000000010000000000000001'
const SECOND = '000000010000000000000002'
/** What nobody has archived, where somebody adds it. */
const NEXT = '000000010000000000000003'
const HISTORY = '00000002.history'

const stateDirectory = () => join(temporaryDirectory(), 'state')
const journal = listeningJournal()

async function scene(): Promise<Scene> {
  const at = await walCalls()
  const key = keyFile()
  const context = { ...at.context, keys: accessWith(key), stateDirectory: stateDirectory() }
  const repository = { name: 'local', path: at.repository }
  await addKeys(context, journal, { repository, recipients: [key], label: null })
  at.ready([1, 2])
  writeFileSync(at.wal(HISTORY), '1\t0/300000\tno recovery target specified\n')
  for (const name of [FIRST, SECOND, HISTORY]) await at.archiveFile(name, { ahead: null }, context)
  const owner = async () => {
    const { id } = await hostSigner(context)
    return distrustHost(context, journal, { repository, id, all: false, dryRun: false })
  }
  return { at, context, key: key.path, owner }
}

const fileOf = ({ at }: Scene, name: string) =>
  join(at.repository, 'main', 'wal', system, name.slice(0, 8), `${name}${name === HISTORY ? '.zst' : '.zst.enc'}`)

/** Archives under this name as somebody with this state and no key does, with this very program. */
async function archiveAs({ at, context }: Scene, state: string, name: string): Promise<void> {
  at.ready([3])
  if (name === HISTORY) writeFileSync(at.wal(HISTORY), '1\t0/200000\tforged\n')
  await at.archiveFile(name, { ahead: null }, { ...context, keys: accessWith(), stateDirectory: state })
}

/** A host's state with its signing key and all that it remembers. */
function stolen({ context }: Scene): string {
  const state = stateDirectory()
  cpSync(context.stateDirectory, state, { recursive: true })
  return state
}

/** As nexus-backup-repository(5) tells under SECURITY. */
const deeds: Readonly<Record<string, (one: Scene) => Promise<unknown> | unknown>> = {
  'only read': () => {},
  'add, without a key': one => archiveAs(one, stateDirectory(), NEXT),
  'add, under another name': one => copyFileSync(fileOf(one, SECOND), fileOf(one, NEXT)),
  'change a segment': one => {
    const bytes = readFileSync(fileOf(one, SECOND))
    bytes[bytes.length - 40] = (bytes[bytes.length - 40] ?? 0) ^ 1
    writeFileSync(fileOf(one, SECOND), bytes)
  },
  'exchange a segment for an earlier one': one => copyFileSync(fileOf(one, FIRST), fileOf(one, SECOND)),
  'exchange the history': async one => {
    rmSync(fileOf(one, HISTORY))
    await archiveAs(one, stateDirectory(), HISTORY)
  },
  'delete the oldest': one => rmSync(fileOf(one, FIRST)),
  'delete the newest': one => rmSync(fileOf(one, SECOND)),
  'delete the keys': one => rmSync(join(one.at.repository, 'keys'), { recursive: true }),
  'sign as the host': one => archiveAs(one, stolen(one), NEXT),
  'sign as the host, which is distrusted': async one => {
    await one.owner()
    await archiveAs(one, stolen(one), NEXT)
  },
}

/** The code of what was thrown, or what `work` says. */
async function outcome(work: () => Promise<string>): Promise<string> {
  try {
    return await work()
  } catch (error) {
    return (error as { code: string }).code
  }
}

/** How each way to the log ends, for each of its files: where it was made, elsewhere with the key, and by recover.mjs. */
async function outcomes({ at, context, key }: Scene): Promise<Record<string, string>> {
  const elsewhere = { ...context, stateDirectory: stateDirectory() }
  const fetched = async (by: Context) => {
    const ends: string[] = []
    for (const name of [SECOND, NEXT, HISTORY]) {
      rmSync(at.wal('RECOVERYXLOG'), { force: true })
      ends.push(
        await outcome(async () => {
          await at.fetchFile(name, { ahead: null }, by)
          return at.plain('RECOVERYXLOG').equals(at.plain(name)) ? 'ok' : 'something else'
        }),
      )
    }
    return ends.join(', ')
  }
  const fetch = await fetched(context)
  expect(await fetched(elsewhere)).toBe(fetch)
  const script = join(at.repository, 'recover.mjs')
  const recovering = [SECOND, NEXT, HISTORY].map(async name => {
    const out = join(temporaryDirectory(), 'out')
    const stored = join(at.repository, 'main', 'wal', system)
    const words = [script, '--wal', stored, name, out, '--key-file', key]
    return (await execa(process.execPath, words, { reject: false })).exitCode
  })
  const recover = (await Promise.all(recovering)).join(', ')
  const checked = await outcome(async () => {
    const repositories = [{ name: 'local', path: at.repository }]
    const { results } = await verify(context, journal, { repositories, sources: [], targets: ['main'], drill: false })
    return results.map(({ id, status }) => `${id.startsWith('wal/') ? id.slice(-1) : 'keys'} ${status}`).join(', ')
  })
  return { fetch, recover, verify: checked }
}

/** Of the newest segment, one that was never archived by the host, and the history; recover.mjs ends with 1 for what is not archived. */
const TABLE: Record<string, Record<string, string>> = {
  'only read': { fetch: 'ok, wal_not_archived, ok', recover: '0, 1, 0', verify: '1 ok, 2 ok' },
  'add, without a key': { fetch: 'ok, wal_untrusted, ok', recover: '0, 126, 0', verify: '1 damaged, 2 ok' },
  'add, under another name': { fetch: 'ok, wal_damaged, ok', recover: '0, 126, 0', verify: '1 damaged, 2 ok' },
  'change a segment': { fetch: 'wal_damaged, wal_not_archived, ok', recover: '126, 1, 0', verify: '1 damaged, 2 ok' },
  'exchange a segment for an earlier one': {
    fetch: 'wal_damaged, wal_not_archived, ok',
    recover: '126, 1, 0',
    verify: '1 damaged, 2 ok',
  },
  'exchange the history': {
    fetch: 'ok, wal_not_archived, wal_untrusted',
    recover: '0, 1, 126',
    verify: '1 ok, 2 damaged',
  },
  // Nothing but a base that needs it tells that there was one.
  'delete the oldest': { fetch: 'ok, wal_not_archived, ok', recover: '0, 1, 0', verify: '1 ok, 2 ok' },
  'delete the newest': { fetch: 'wal_not_archived, wal_not_archived, ok', recover: '1, 1, 0', verify: '1 ok, 2 ok' },
  'delete the keys': {
    fetch: 'wal_untrusted, wal_not_archived, wal_untrusted',
    recover: '126, 1, 126',
    verify: 'keys damaged, 1 damaged, 2 damaged',
  },
  'sign as the host': { fetch: 'ok, ok, ok', recover: '0, 0, 0', verify: '1 ok, 2 ok' },
  'sign as the host, which is distrusted': {
    fetch: 'wal_untrusted, wal_untrusted, wal_untrusted',
    recover: '126, 126, 126',
    verify: '1 damaged, 2 damaged',
  },
}

it('every way to an encrypted log ends as the manual says, whatever somebody could do there', async () => {
  const one = await scene()
  const saved = join(temporaryDirectory(), 'saved')
  const saveds = { repository: one.at.repository, state: one.context.stateDirectory }
  mkdirSync(saved)
  for (const [name, path] of Object.entries(saveds)) cpSync(path, join(saved, name), { recursive: true })
  const found: Record<string, Record<string, string>> = {}
  for (const [what, deed] of Object.entries(deeds)) {
    for (const [name, path] of Object.entries(saveds)) {
      rmSync(path, { recursive: true })
      cpSync(join(saved, name), path, { recursive: true })
    }
    const history = readFileSync(one.at.wal(HISTORY))
    await deed(one)
    writeFileSync(one.at.wal(HISTORY), history)
    found[what] = await outcomes(one)
  }
  expect(found).toEqual(TABLE)
})
