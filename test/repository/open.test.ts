import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { initRepository, openRepository } from '../../src/repository/open.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const now = new Date('2025-11-03T03:00:00Z')
const isRoot = process.getuid?.() === 0

describe('initRepository', () => {
  test('makes a private directory with its description, recovery files and their checksums', async () => {
    const path = join(temporaryDirectory(), 'deep', 'repo')
    const repository = await initRepository(path, { now })
    expect(readdirSync(path).sort()).toEqual(['RECOVER.txt', 'SHA256SUMS', 'nexus-backup.json', 'recover.mjs'])
    expect(statSync(path).mode & 0o777).toBe(0o700)
    for (const name of readdirSync(path)) expect(statSync(join(path, name)).mode & 0o777).toBe(0o600)
    expect(JSON.parse(readFileSync(join(path, 'nexus-backup.json'), 'utf8'))).toEqual({
      format: 1,
      id: repository.id,
      created: now.toISOString(),
      tool: 'nexus-backup',
    })
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: path })
    expect(repository.writable).toBe(true)
    expect(await repository.sources()).toEqual([])
  })

  test('leaves an existing repository as it is', async () => {
    const path = temporaryDirectory()
    const first = await initRepository(path, { now })
    const again = await initRepository(path, { now: new Date('2030-01-01T00:00:00Z') })
    expect(again.id).toBe(first.id)
    expect((await openRepository(path)).id).toBe(first.id)
  })

  test('completes an init that was interrupted at any file', async () => {
    for (const kept of [0, 1, 2, 3]) {
      const path = temporaryDirectory()
      await initRepository(path, { now })
      const order = ['RECOVER.txt', 'recover.mjs', 'SHA256SUMS', 'nexus-backup.json']
      for (const name of order.slice(kept)) rmSync(join(path, name))
      writeFileSync(join(path, '.partial-recover.mjs-0000'), 'half')
      mkdirSync(join(path, 'lost+found'))
      await expect(openRepository(path)).rejects.toMatchObject({ kind: 'not-found', code: 'repository_missing' })
      await initRepository(path, { now })
      expect(readdirSync(path).sort()).toEqual([...order, 'lost+found'].sort())
      execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: path })
    }
  })

  test('refuses a directory with other things in it and changes nothing there', async () => {
    const path = temporaryDirectory()
    writeFileSync(join(path, 'thesis.doc'), 'years of work')
    const mode = statSync(path).mode
    await expect(initRepository(path, { now })).rejects.toMatchObject({ kind: 'refused', code: 'not_a_repository' })
    expect(readdirSync(path)).toEqual(['thesis.doc'])
    expect(statSync(path).mode).toBe(mode)
  })

  test('refuses a repository robbed of its description, because its sources lie there', async () => {
    const path = temporaryDirectory()
    await initRepository(path, { now })
    mkdirSync(join(path, 'itsm'))
    rmSync(join(path, 'nexus-backup.json'))
    await expect(initRepository(path, { now })).rejects.toMatchObject({ code: 'not_a_repository' })
  })

  test('says so when the path is a file', async () => {
    const path = join(temporaryDirectory(), 'file')
    writeFileSync(path, '')
    await expect(initRepository(path, { now })).rejects.toMatchObject({ kind: 'usage', code: 'not_a_directory' })
    await expect(initRepository(join(path, 'below'), { now })).rejects.toMatchObject({ code: 'not_a_directory' })
  })

  test.skipIf(!isRoot)('gives everything to the owner that was asked for (needs root)', async () => {
    const path = join(temporaryDirectory(), 'repo')
    const nobody = Number(execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' }))
    const group = Number(execFileSync('id', ['-g', 'nobody'], { encoding: 'utf8' }))
    const repository = await initRepository(path, { owner: 'nobody', now })
    await repository.storage.writeOnce('itsm/source.json', Buffer.from('x'))
    for (const name of ['', 'nexus-backup.json', 'recover.mjs', 'itsm', 'itsm/source.json']) {
      expect(statSync(join(path, name))).toMatchObject({ uid: nobody, gid: group })
    }
    await expect(initRepository(path, { owner: 'nobody', now })).resolves.toMatchObject({ id: repository.id })
    await expect(initRepository(path, { owner: 'root', now })).rejects.toMatchObject({ code: 'owner_differs' })
    const second = await initRepository(join(path, '..', 'second'), { owner: 'root:nogroup', now })
    expect(statSync(second.location)).toMatchObject({ uid: 0, gid: group })
  })

  test.skipIf(!isRoot)('names the owner it cannot find (needs root)', async () => {
    const path = join(temporaryDirectory(), 'repo')
    for (const owner of ['no-such-user', 'root:no-such-group']) {
      await expect(initRepository(path, { owner, now })).rejects.toMatchObject({ kind: 'usage', code: 'owner_unknown' })
    }
    for (const owner of ['-u', '', 'a:b:c', 'root:', 'a b']) {
      await expect(initRepository(path, { owner, now })).rejects.toMatchObject({ kind: 'usage', code: 'owner_invalid' })
    }
    expect(readdirSync(join(path, '..'))).toEqual([])
  })
})

describe('openRepository', () => {
  test('does not make a repository where none is, and says where it may be', async () => {
    const path = join(temporaryDirectory(), 'absent')
    await expect(openRepository(path)).rejects.toMatchObject({
      kind: 'not-found',
      code: 'repository_missing',
      hint: expect.stringMatching(/^is the disk mounted/),
    })
    writeFileSync(path, '')
    await expect(openRepository(path)).rejects.toMatchObject({ code: 'repository_missing' })
  })

  test('refuses a format it does not know and a description that is broken', async () => {
    const path = temporaryDirectory()
    await initRepository(path, { now })
    const file = join(path, 'nexus-backup.json')
    const good = readFileSync(file, 'utf8')
    writeFileSync(file, good.replace('"format": 1', '"format": 2'))
    // A flipped bit is damage; another format is one that the checksums vouch for.
    await expect(openRepository(path)).rejects.toMatchObject({ kind: 'damage', code: 'repository_damaged' })
    const sums = readFileSync(join(path, 'SHA256SUMS'), 'utf8')
    const [before, after] = [good, readFileSync(file, 'utf8')].map(text =>
      createHash('sha256').update(text).digest('hex'),
    )
    writeFileSync(join(path, 'SHA256SUMS'), sums.replace(before ?? '', after ?? ''))
    await expect(openRepository(path)).rejects.toMatchObject({ code: 'repository_format_unknown' })
    for (const text of [
      '',
      'null',
      '[]',
      '{}',
      good.slice(0, -5),
      `${'['.repeat(100)}${']'.repeat(100)}`,
      ' '.repeat(1e6),
    ]) {
      writeFileSync(file, text)
      await expect(openRepository(path)).rejects.toMatchObject({ kind: 'damage' })
    }
    writeFileSync(file, good.replace('{', '{"later": {"added": true},'))
    await expect(openRepository(path)).resolves.toBeDefined()
  })

  test('lists only directories that can be sources', async () => {
    const path = temporaryDirectory()
    const repository = await initRepository(path, { now })
    for (const name of ['itsm', 'b.c', 'keys', 'Upper', '.hidden']) mkdirSync(join(path, name))
    writeFileSync(join(path, 'file'), '')
    expect(await repository.sources()).toEqual(['b.c', 'itsm'])
    expect(() => repository.source('../etc')).toThrow(expect.objectContaining({ kind: 'usage' }))
  })
})
