import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { rollback } from '../../../src/operations/rollback.js'
import { type Application, application } from '../application.js'

const refused = vi.hoisted(() => ({ owners: false }))
/** A file system without owners, or a user who may not give files away: fchown(2) answers as it does there. */
vi.mock('node:fs', async original => {
  const actual = await original<typeof import('node:fs')>()
  const fchownSync = (...words: Parameters<typeof actual.fchownSync>) => {
    if (refused.owners) throw Object.assign(new Error('EPERM: operation not permitted, fchown'), { code: 'EPERM' })
    actual.fchownSync(...words)
  }
  return { ...actual, fchownSync, default: { ...actual, fchownSync } }
})

afterEach(() => {
  refused.owners = false
})

const OWNER = { uid: 1234, gid: 2345 }
const isRoot = process.geteuid?.() === 0

function ownerOf(path: string) {
  const { uid, gid, mode } = statSync(path)
  return { uid, gid, mode: mode & 0o777 }
}

function restored({ context, journal, source }: Application) {
  const target = { kind: 'in-place', source } as const
  const repositories = [source.repository]
  return restore(context, journal, { repositories, backup: 'app', target, source, at: undefined, dryRun: false })
}

/** A database of another user, backed up, and damaged since. */
async function damaged(): Promise<Application> {
  const app = await application()
  await app.create()
  writeFileSync(app.source.path, Buffer.alloc(8192, 7))
  chownSync(app.source.path, OWNER.uid, OWNER.gid)
  chmodSync(app.source.path, 0o640)
  return app
}

describe.skipIf(!isRoot)('owner, group and mode', () => {
  it('stay through the restore of a damaged database and its rollback', async () => {
    const app = await damaged()
    const { previous } = await restored(app)
    const wanted = { ...OWNER, mode: 0o640 }
    expect([ownerOf(app.source.path), ownerOf(previous ?? '')]).toEqual([wanted, wanted])
    const back = await rollback(app.context, app.journal, { source: app.source, dryRun: false })
    expect([ownerOf(app.source.path), ownerOf(back.previous ?? '')]).toEqual([wanted, wanted])
    expect(readFileSync(app.source.path).equals(Buffer.alloc(8192, 7))).toBe(true)
  })

  it('are told one by one where they could not be kept, and the data is restored', async () => {
    const app = await damaged()
    refused.owners = true
    const { previous, problems } = await restored(app)
    expect(problems).toEqual([
      `${app.source.path} could not be given owner 1234 and group 2345`,
      `${previous} could not be given owner 1234 and group 2345`,
    ])
    expect(ownerOf(app.source.path).mode).toBe(0o640)
  })
})
