import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { points } from '../../../src/operations/points.js'
import { prune } from '../../../src/operations/prune.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { gpgHome } from '../../keys/gpg-home.js'
import { type Application, application } from '../application.js'
import { accessIn, accessWith, encryptedApplication, everyFile, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, mark, opened, restored, verified } from './bench.js'

/** A full with an increment, and another full: one can go and another one is left. */
interface Scene {
  app: Application
  key: ReturnType<typeof keyFile>
  old: string
  incr: string
  latest: string
  path: string
}

/** What somebody did: the id of what he put there. */
interface Deed {
  forged?: string
}

/** Name of a table, which stands in the database file as it is. */
const TEXT = 'kept_from_everybody'

async function scene(): Promise<Scene> {
  const key = keyFile()
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const made = async (type: 'full' | 'incr') => (await app.create({ type })).backups[0]?.id ?? ''
  const old = await made('full')
  mark(app.source.path, TEXT)
  const [incr, latest] = [await made('incr'), await made('full')]
  await verified(app)
  return { app, key, old, incr, latest, path: app.source.repository.path }
}

/** The code of what was thrown, or what `work` says. */
async function outcome(work: () => Promise<string>): Promise<string> {
  try {
    return await work()
  } catch (error) {
    return (error as { code: string }).code
  }
}

/** How recover.mjs ends with the key. It is that of this version: the one in the repository may be anybody's. */
async function recovered(path: string, id: string, key: string): Promise<string> {
  const script = new URL('../../../src/repository/recovery/recover.mjs', import.meta.url).pathname
  const words = [script, join(path, 'app', id), join(temporaryDirectory(), 'out'), '--key-file', key]
  return `${(await execa(process.execPath, words, { reject: false })).exitCode}`
}

function counted(words: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  const parts = [...counts].filter(([word]) => word !== 'ok').map(([word, count]) => `${count} ${word}`)
  return parts.length === 0 ? 'ok' : parts.sort().join(', ')
}

/** What every command says, in the order in which they are run. */
async function outcomes(
  { app, key, latest, incr, path }: Scene,
  { forged }: Deed,
  context: Context,
  remembers: boolean,
) {
  const { name, repository } = app.source
  const at = { ...app, context }
  const restoring = (id: string, untrusted = false) =>
    outcome(async () => {
      const { id: brought, marks } = await restored(at, id, { context, untrusted })
      if (marks.includes('forged')) return 'the forgery'
      return brought === latest ? 'latest' : brought === incr ? 'earlier' : 'oldest'
    })
  const others = async () => ({
    'keys list': await outcome(async () => {
      const [keys] = (await listKeys(context, [repository])).repositories
      const trusted = (all: readonly { is_trusted: boolean }[] = []) => all.filter(one => one.is_trusted).length
      return `${trusted(keys?.epochs)} epochs, ${trusted(keys?.hosts)} hosts`
    }),
    'keys rotate': await outcome(async () => {
      await rotateKeys(context, app.journal, { repository, without: [], dryRun: true })
      return 'ok'
    }),
    copy: await outcome(async () => {
      const to = { name: 'copy', path: join(temporaryDirectory(), 'copy') }
      const tasks = [{ source: name, from: repository, to }]
      const { copies, failures } = await copy(context, app.journal, { tasks, init: true, dryRun: false })
      const words = copies.flatMap(one => one.backups).map(id => (id === forged ? 'the forgery' : 'ours'))
      return [...words, ...failures.map(({ code }) => code)].join(', ')
    }),
    'recover.mjs': await recovered(path, forged ?? latest, key.path),
    verify: await outcome(async () => counted(Object.values(await verified(at, context)))),
    'restore FORGED': forged === undefined ? '' : await restoring(forged),
    'restore FORGED --untrusted': forged === undefined ? '' : await restoring(forged, true),
    create: await outcome(async () => {
      const { backups, failures } = await create(context, app.journal, requestFor(app.source))
      return failures[0]?.code ?? `${backups[0]?.type}${backups[0]?.unvouched === undefined ? '' : ', unvouched'}`
    }),
    prune: await outcome(async () => {
      const request = { sources: [{ name, repository, keep: { last: 2 } }], dryRun: false }
      return `${(await prune(context, app.journal, request)).delete.length} deleted`
    }),
  })
  return {
    list: await outcome(async () => {
      const { untrusted, problems } = await listed(at, context)
      return counted([...untrusted.map(([, trust]) => String(trust)), ...problems.map(() => 'damaged')])
    }),
    'pitr points': await outcome(async () => {
      const found = (await points(context, [repository], name)).points.map(({ id }) => id)
      return found.includes(forged ?? '') ? 'the forgery' : `${found.length}`
    }),
    restore: await restoring(name),
    'restore ID': await restoring(incr),
    ...(remembers ? await others() : {}),
  }
}

const file = (at: Scene, id: string, name: string) => join(at.path, 'app', id, name)

function flip(path: string): Deed {
  const bytes = readFileSync(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(path, bytes)
  return {}
}

const partOf = (at: Scene, id: string) =>
  readdirSync(join(at.path, 'app', id)).find(name => name.includes('.zst')) ?? ''

async function plainOne(at: Scene): Promise<string> {
  const plain = await application({ database: { rows: 9 } })
  mark(plain.source.path, 'forged')
  const id = (await plain.create({ type: 'full' })).backups[0]?.id ?? ''
  cpSync(join(plain.source.repository.path, 'app', id), join(at.path, 'app', id), { recursive: true })
  return id
}

/** Says of the newest backup what is not so, in proofs signed by nobody and by a host of his own. */
async function forgeProof({ app, latest }: Scene, thief: Context, status: 'ok' | 'damaged'): Promise<void> {
  const at = status === 'ok' ? '2025-12-01T01:00:00.000Z' : '2025-12-01T02:00:00.000Z'
  const proof = { id: latest, at, status, level: 'content' as const, findings: [] }
  const repository = await opened(app)
  const room = repository.source('app')
  await room.addProof(proof)
  const signer = await hostSigner(thief)
  const trust = { repository: repository.id, source: 'app', isRequired: () => true, keyOf: async () => undefined }
  await room.keepProofs([proof], { now: new Date('2025-12-01T03:00:00Z'), trust, signer: async () => signer })
}

/** As `thief` has the host's signing key and its memory. */
async function withSigningKey({ app }: Scene): Promise<string> {
  const thief = intruderOf(app)
  cpSync(app.context.stateDirectory, thief.stateDirectory, { recursive: true })
  return forge(app, thief)
}

/** As nexus-backup-repository(5) tells under SECURITY. */
const deeds: Readonly<Record<string, (at: Scene) => Promise<Deed>>> = {
  'only read': async () => ({}),
  'add, without a key': async at => ({ forged: await forge(at.app, intruderOf(at.app)) }),
  'add, in plain': async at => ({ forged: await plainOne(at) }),
  'change a part': async at => flip(file(at, at.latest, partOf(at, at.latest))),
  'change a manifest': async at => flip(file(at, at.latest, 'manifest.json')),
  'delete the newest': async at => remove(at, at.latest),
  'delete an old chain': async at => remove(at, at.old, at.incr),
  'forge proofs': async at => {
    const thief = intruderOf(at.app)
    for (const status of ['ok', 'damaged'] as const) await forgeProof(at, thief, status)
    return {}
  },
  'delete proofs': async at => {
    rmSync(join(at.path, 'app', 'proofs'), { recursive: true })
    return {}
  },
  'delete the keys': async at => {
    rmSync(join(at.path, 'keys'), { recursive: true })
    return {}
  },
  'sign as the host': async at => ({ forged: await withSigningKey(at) }),
  'sign as the host, which is distrusted': async at => {
    await distrusted(at)
    return { forged: await withSigningKey(at) }
  },
  // With full credentials to the store, from a machine that was vouched for once.
  'the same, and take the word away': async at => takeWord(at, await distrusted(at)),
  'the same after another rotation': async at => {
    const id = await distrusted(at)
    await rotated(at)
    return takeWord(at, id)
  },
  'bring one here that the host made elsewhere': async at => {
    const there = await encryptedApplication([at.key], { database: { rows: 3, pageSize: 512 } })
    mark(there.source.path, 'forged')
    const request = requestFor(there.source, { type: 'full', init: true })
    const id = (await create(at.app.context, there.journal, request)).backups[0]?.id ?? ''
    for (const name of [`app/${id}`, 'keys']) {
      cpSync(join(there.source.repository.path, name), join(at.path, name), { recursive: true, force: false })
    }
    return { forged: id }
  },
}

async function rotated({ app, key }: Scene): Promise<void> {
  const owner = { ...app.context, keys: accessWith(key) }
  await rotateKeys(owner, app.journal, { repository: app.source.repository, without: [], dryRun: false })
}

/** The owner rotates the keys and distrusts the host's. Returns the name of that one. */
async function distrusted(at: Scene): Promise<string> {
  const { app, key } = at
  await rotated(at)
  const { id } = await hostSigner(app.context)
  const owner = { ...app.context, keys: accessWith(key) }
  await distrustHost(owner, app.journal, { repository: app.source.repository, id, all: false, dryRun: false })
  return id
}

async function takeWord(at: Scene, id: string): Promise<Deed> {
  const forged = await withSigningKey(at)
  const words = join(at.path, 'keys', 'hosts', id)
  for (const name of readdirSync(words)) if (name.startsWith('distrusted-')) rmSync(join(words, name))
  return { forged }
}

function remove(at: Scene, ...ids: string[]): Deed {
  for (const id of ids) rmSync(join(at.path, 'app', id), { recursive: true })
  return {}
}

/** Where a cell is empty there is no forgery. */
const TABLE: Record<string, Record<string, string>> = {
  'only read: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '0',
    list: 'ok',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: 'ok',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '2 deleted',
  },
  'only read: elsewhere': { list: 'ok', 'pitr points': '3', restore: 'latest', 'restore ID': 'earlier' },
  'add, without a key: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '1',
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full',
    prune: '2 deleted',
  },
  'add, without a key: elsewhere': {
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
  },
  'add, in plain: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '1',
    list: '1 plain',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full',
    prune: '2 deleted',
  },
  'add, in plain: elsewhere': { list: '1 plain', 'pitr points': '3', restore: 'latest', 'restore ID': 'earlier' },
  'change a part: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'backup_damaged',
    'recover.mjs': '1',
    list: 'ok',
    'pitr points': '3',
    restore: 'chain_damaged',
    'restore ID': 'earlier',
    verify: '1 damaged',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '0 deleted',
  },
  'change a part: elsewhere': { list: 'ok', 'pitr points': '3', restore: 'chain_damaged', 'restore ID': 'earlier' },
  'change a manifest: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours',
    'recover.mjs': '1',
    list: '1 damaged',
    'pitr points': '2',
    restore: 'backup_damaged',
    'restore ID': 'earlier',
    verify: '1 damaged',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '0 deleted',
  },
  'change a manifest: elsewhere': {
    list: '1 damaged',
    'pitr points': '2',
    restore: 'backup_damaged',
    'restore ID': 'earlier',
  },
  'delete the newest: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours',
    'recover.mjs': '1',
    list: 'ok',
    'pitr points': '2',
    restore: 'backup_damaged',
    'restore ID': 'earlier',
    verify: '1 damaged',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '0 deleted',
  },
  'delete the newest: elsewhere': { list: 'ok', 'pitr points': '2', restore: 'earlier', 'restore ID': 'earlier' },
  'delete an old chain: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours',
    'recover.mjs': '0',
    list: 'ok',
    'pitr points': '1',
    restore: 'latest',
    'restore ID': 'backup_not_found',
    verify: '2 damaged',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '0 deleted',
  },
  'delete an old chain: elsewhere': {
    list: 'ok',
    'pitr points': '1',
    restore: 'latest',
    'restore ID': 'backup_not_found',
  },
  'forge proofs: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '0',
    list: 'ok',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: 'ok',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '2 deleted',
  },
  'forge proofs: elsewhere': { list: 'ok', 'pitr points': '3', restore: 'latest', 'restore ID': 'earlier' },
  'delete proofs: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '0',
    list: 'ok',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: 'ok',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '2 deleted',
  },
  'delete proofs: elsewhere': { list: 'ok', 'pitr points': '3', restore: 'latest', 'restore ID': 'earlier' },
  'delete the keys: where it was made': {
    'keys list': 'keys_damaged',
    'keys rotate': 'keys_damaged',
    copy: '',
    'recover.mjs': '1',
    list: '3 badly-signed, 3 damaged',
    'pitr points': '0',
    restore: 'manifest_forged',
    'restore ID': 'manifest_forged',
    verify: '4 damaged',
    'restore FORGED': '',
    'restore FORGED --untrusted': '',
    create: 'full',
    prune: '2 deleted',
  },
  'delete the keys: elsewhere': {
    list: '3 badly-signed, 3 damaged',
    'pitr points': '0',
    restore: 'manifest_forged',
    'restore ID': 'manifest_forged',
  },
  'sign as the host: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours, the forgery',
    'recover.mjs': '0',
    list: 'ok',
    'pitr points': 'the forgery',
    restore: 'the forgery',
    'restore ID': 'earlier',
    verify: 'ok',
    'restore FORGED': 'the forgery',
    'restore FORGED --untrusted': 'the forgery',
    create: 'incr',
    prune: '3 deleted',
  },
  'sign as the host: elsewhere': {
    list: 'ok',
    'pitr points': 'the forgery',
    restore: 'the forgery',
    'restore ID': 'earlier',
  },
  'sign as the host, which is distrusted: where it was made': {
    'keys list': '2 epochs, 0 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '1',
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full, unvouched',
    prune: '0 deleted',
  },
  'sign as the host, which is distrusted: elsewhere': {
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
  },
  'the same, and take the word away: where it was made': {
    'keys list': '2 epochs, 0 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    // It knows nothing but the repository.
    'recover.mjs': '0',
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 damaged, 1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full, unvouched',
    prune: '0 deleted',
  },
  'the same, and take the word away: elsewhere': {
    list: 'ok',
    'pitr points': 'the forgery',
    restore: 'the forgery',
    'restore ID': 'earlier',
  },
  'the same after another rotation: where it was made': {
    'keys list': '3 epochs, 0 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '1',
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 damaged, 1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full, unvouched',
    prune: '0 deleted',
  },
  'the same after another rotation: elsewhere': {
    list: '4 stranger',
    'pitr points': '0',
    restore: 'backup_untrusted',
    'restore ID': 'backup_untrusted',
  },
  'bring one here that the host made elsewhere: where it was made': {
    'keys list': '1 epochs, 1 hosts',
    'keys rotate': 'ok',
    copy: 'ours, ours, ours',
    'recover.mjs': '1',
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
    verify: '1 untrusted',
    'restore FORGED': 'backup_untrusted',
    'restore FORGED --untrusted': 'the forgery',
    create: 'full',
    prune: '2 deleted',
  },
  'bring one here that the host made elsewhere: elsewhere': {
    list: '1 stranger',
    'pitr points': '3',
    restore: 'latest',
    'restore ID': 'earlier',
  },
}

describe('in an encrypted repository', () => {
  it('every command ends as the manual says, whatever somebody could do there', async () => {
    const at = await scene()
    const root = dirname(at.path)
    const saved = join(temporaryDirectory(), 'saved')
    cpSync(root, saved, { recursive: true })
    const found: Record<string, Record<string, string>> = {}
    for (const [what, deed] of Object.entries(deeds)) {
      for (const which of ['where it was made', 'elsewhere']) {
        rmSync(root, { recursive: true })
        cpSync(saved, root, { recursive: true })
        const genuine = () => [at.old, at.incr, at.latest].filter(id => existsSync(join(at.path, 'app', id)))
        const done = await deed(at)
        const before = genuine()
        const bare = { ...at.app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
        const row =
          which === 'elsewhere' ? await outcomes(at, done, bare, false) : await outcomes(at, done, at.app.context, true)
        // Of two that the policy keeps one is the newest of ours, whatever is put there by somebody without its key.
        if (what !== 'sign as the host') expect(genuine().at(-1), what).toBe(before.at(-1))
        // Nothing is ever written in plain.
        const told = everyFile(at.path).filter(one => readFileSync(one).includes(TEXT))
        expect(told, what).toEqual([])
        found[`${what}: ${which}`] = row
      }
    }
    expect(found).toEqual(TABLE)
  })
})

describe('a host with only a public GPG key', () => {
  it('reads nothing of what it has made, and makes and prunes all the same', async () => {
    const gpg = await gpgHome()
    const recipient = { kind: 'gpg' as const, fingerprint: gpg.fingerprint }
    const env = { GNUPGHOME: await gpg.publicOnly() }
    const app = await encryptedApplication([recipient], { database: { rows: 3, pageSize: 512 } }, env)
    const full = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    await app.create({ type: 'full' })
    const here = { ...app.context, keys: accessIn(env, recipient) }
    await expect(restored(app, full, { context: here })).rejects.toMatchObject({ code: expect.stringContaining('key') })
    expect(counted(Object.values(await verified(app, here)))).toBe('2 unread')
    const request = { sources: [{ name: 'app', repository: app.source.repository, keep: { last: 1 } }], dryRun: false }
    expect((await prune(app.context, app.journal, request)).delete).toHaveLength(1)
    const owner = { ...app.context, keys: accessIn({ GNUPGHOME: gpg.home }, recipient) }
    expect(await restored(app, 'app', { context: owner })).toMatchObject({ marks: [] })
  })
})
