import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type HostilePlace, hostilePlace } from './hostile-objects.js'

async function place(encrypted = false): Promise<HostilePlace> {
  const made = await hostilePlace(encrypted)
  onTestFinished(() => rmSync(made.directory, { recursive: true, force: true }))
  return made
}

/** What somebody puts in the place of a lock file. */
const inItsPlace: [string, (path: string) => void][] = [
  ['text', path => writeFileSync(path, 'SQLite format 3')],
  ['a directory', path => mkdirSync(path)],
  ['a link', path => symlinkSync('/etc/passwd', path)],
  ['a pipe', path => void execFileSync('mkfifo', [path])],
]

/** Readers go on without a lock and say so; writers do not, and say what to do. */
async function expectReadable(at: HostilePlace, culprit: string): Promise<void> {
  const target = join(at.directory, 'restored.db')
  rmSync(target, { force: true })
  const restored = await at.run('restore', 'app', '--to', target)
  expect(restored).toMatchObject({ status: 0, stderr: expect.stringContaining('working without a lock') })
  expect(existsSync(target)).toBe(true)
  expect(await at.run('verify')).toMatchObject({ status: 0, stderr: expect.stringContaining(culprit) })
  expect(await at.run('list')).toMatchObject({ status: 0 })
  const before = readdirSync(join(at.repository, 'app'))
  const { status, stderr } = await at.run('create')
  expect({ status, stderr }).toMatchObject({ status: expect.toBeOneOf([1, 4]) })
  expect(stderr).toContain(culprit)
  expect(readdirSync(join(at.repository, 'app'))).toEqual(before)
}

describe('a lock that is damaged', () => {
  it('keeps nobody from reading, and everybody from writing', async () => {
    const at = await place()
    const locks = join(at.repository, 'app/.locks')
    const file = join(locks, 'delete')
    for (const [what, put] of inItsPlace) {
      rmSync(file, { recursive: true })
      put(file)
      await expectReadable(at, file)
      expect(what).toBe(what)
    }
    rmSync(file)
    writeFileSync(`${file}-journal`, 'hostile')
    await expectReadable(at, `${file}-journal`)
    rmSync(locks, { recursive: true })
    writeFileSync(locks, 'no directory')
    await expectReadable(at, locks)
    // As the hint says.
    const { stderr } = await at.run('create')
    const [, command = ''] =
      /hint: when no nexus-backup runs, move it out of the repository: (mv .*) \/tmp$/m.exec(stderr) ?? []
    execFileSync('sh', ['-c', `${command} ${at.directory}`])
    expect(await at.run('create')).toMatchObject({ status: 0 })
  })
})

describe('keys that are damaged', () => {
  it('do not keep a host that knows them from backing up, nor from restoring what it made', async () => {
    const at = await place(true)
    const keys = readdirSync(join(at.repository, 'keys'), { recursive: true, encoding: 'utf8' })
    const files = keys.filter(name => name.endsWith('.json')).map(name => join(at.repository, 'keys', name))
    expect(files.length).toBeGreaterThan(6)
    const told: string[] = []
    for (const file of files) {
      const was = readFileSync(file)
      writeFileSync(file, '{')
      const created = await at.run('create')
      expect(created, file).toMatchObject({ status: 0 })
      const target = join(at.directory, 'restored.db')
      rmSync(target, { force: true })
      const restored = await at.run('restore', 'app', '--to', target)
      expect(restored, file).toMatchObject({ status: 0 })
      if (`${created.stderr}${restored.stderr}`.includes('is damaged')) told.push(file)
      expect(readFileSync(file, 'utf8')).toBe('{')
      writeFileSync(file, was)
    }
    // What only an older epoch needs is not read.
    expect(told).toEqual(expect.arrayContaining(files.filter(file => /(epoch|next|first)\.json$/.test(file))))
    expect(await at.run('verify')).toMatchObject({ status: 0 })
  })

  it('are no reason to refuse where they are not the repository’s own', async () => {
    for (const encrypted of [false, true]) {
      const at = await place(encrypted)
      const epoch = join(at.repository, 'keys/20200101T000000.000Z-deadbeef')
      mkdirSync(epoch, { recursive: true })
      for (const name of ['epoch.json', 'next.json']) writeFileSync(join(epoch, name), '{')
      // A host that remembers nothing.
      rmSync(join(at.directory, 'state/keys'), { recursive: true, force: true })
      const created = await at.run('create')
      expect(created.stderr).toContain('is damaged')
      // Nobody vouches for its new key.
      expect(created.status).toBe(encrypted ? 3 : 0)
      const target = join(at.directory, 'restored.db')
      expect(await at.run('restore', 'app', '--to', target)).toMatchObject({ status: 0 })
    }
  })

  it('stop a host that knows nothing of them from writing', async () => {
    const at = await place(true)
    rmSync(join(at.directory, 'state/keys'), { recursive: true })
    const next = readdirSync(join(at.repository, 'keys'), { recursive: true, encoding: 'utf8' })
    for (const name of ['first.json', next.find(file => file.endsWith('next.json')) ?? '']) {
      const file = join(at.repository, 'keys', name)
      const was = readFileSync(file)
      writeFileSync(file, '{')
      expect(await at.run('create'), name).toMatchObject({ status: expect.toBeOneOf([1, 4]) })
      writeFileSync(file, was)
    }
  })

  it('that name nothing are nothing in a repository in plain', async () => {
    const at = await place()
    mkdirSync(join(at.repository, 'keys'))
    writeFileSync(join(at.repository, 'keys/first.json'), '{')
    expect(await at.run('create')).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('first.json is damaged'),
    })
  })
})
