import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PartRules } from '../../../src/operations/requests.js'
import { planRestore, restore } from '../../../src/operations/restore.js'
import { differences, noise, portrait } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

/** Two roots: tickets with attachments, and logs. */
function filled(): Directories {
  const at = directories()
  for (const ticket of ['ticket-1', 'ticket-2', 'odd [1]*']) mkdirSync(join(at.uploads, ticket))
  for (const [name, seed] of [
    ['ticket-1/report.pdf', 1],
    ['ticket-1/photo.jpg', 2],
    ['ticket-2/report.pdf', 3],
    ['odd [1]*/a?.txt', 4],
  ] as const)
    writeFileSync(join(at.uploads, name), noise(300_000 + seed, seed))
  chmodSync(join(at.uploads, 'ticket-1'), 0o750)
  utimesSync(join(at.uploads, 'ticket-1/report.pdf'), 1.4e9, 1.4e9)
  linkSync(join(at.uploads, 'ticket-1/report.pdf'), join(at.uploads, 'ticket-2/a-link.pdf'))
  linkSync(join(at.uploads, 'ticket-1/report.pdf'), join(at.uploads, 'ticket-2/b-link.pdf'))
  symlinkSync('ticket-1/report.pdf', join(at.uploads, 'latest'))
  linkSync(join(at.uploads, 'latest'), join(at.logs, 'latest'))
  writeFileSync(join(at.logs, 'app.log'), noise(400_000, 5))
  return at
}

async function restored(at: Directories, part: Partial<PartRules>, more: { backup?: string } = {}) {
  const path = join(at.room, `to-${readdirSync(at.room).length}`)
  const rules = { include: [], exclude: [], ...part }
  const request = at.restoring({ kind: 'path', path, force: false }, { part: rules, ...more })
  const result = await restore(at.context, at.journal, request)
  return { result, path, names: namesBelow(join(path, at.room, 'live')) }
}

/** Paths of all that is no directory. */
function namesBelow(path: string, name = ''): string[] {
  if (!existsSync(path)) return []
  return readdirSync(path, { withFileTypes: true })
    .flatMap(entry =>
      entry.isDirectory() ? namesBelow(join(path, entry.name), `${name}${entry.name}/`) : [name + entry.name],
    )
    .sort()
}

describe('a part of a files backup', () => {
  const ticket1 = ['uploads/ticket-1/photo.jpg', 'uploads/ticket-1/report.pdf']
  const pdfs = [
    'uploads/ticket-1/report.pdf',
    'uploads/ticket-2/a-link.pdf',
    'uploads/ticket-2/b-link.pdf',
    'uploads/ticket-2/report.pdf',
  ]
  const choices: [string, (at: Directories) => Partial<PartRules>, string[]][] = [
    ['a name at any depth', () => ({ include: ['*.pdf'] }), pdfs],
    ['an absolute path', ({ uploads }) => ({ include: [join(uploads, 'ticket-1/photo.jpg')] }), [ticket1[0] ?? '']],
    ['a directory by its absolute path', ({ uploads }) => ({ include: [join(uploads, 'ticket-1')] }), ticket1],
    ['a directory by its name', () => ({ include: ['ticket-1/'] }), ticket1],
    ['a path below the root', () => ({ include: ['ticket-1/*.jpg'] }), [ticket1[0] ?? '']],
    ['a root', ({ logs }) => ({ include: [logs] }), ['logs/app.log', 'logs/latest']],
    [
      'what lies above the roots',
      ({ room }) => ({ include: [join(room, 'live')], exclude: ['ticket-*', 'odd*'] }),
      ['logs/app.log', 'logs/latest', 'uploads/latest'],
    ],
    ['several patterns', () => ({ include: ['*.jpg', 'app.log'] }), ['logs/app.log', ticket1[0] ?? '']],
    ['less what is excluded', () => ({ include: ['*.pdf'], exclude: ['ticket-2'] }), [ticket1[1] ?? '']],
    ['all but what is excluded', () => ({ exclude: ['uploads', 'latest'] }), ['logs/app.log']],
    ['a name with glob characters', () => ({ include: ['odd \\[1\\]\\*/a\\?.txt'] }), ['uploads/odd [1]*/a?.txt']],
  ]

  it('is chosen by patterns as a source has them', async () => {
    const at = filled()
    await at.backUp()
    for (const [what, rules, expected] of choices) {
      const { names, result, path } = await restored(at, rules(at))
      expect(names, what).toEqual(expected)
      for (const name of expected) {
        const [was, is] = [join(at.room, 'live', name), join(path, at.room, 'live', name)]
        expect(differences(portrait(is), portrait(was)), what).toEqual([])
      }
      expect(result.part?.entries).toBeGreaterThanOrEqual(expected.length)
    }
    expect(readdirSync(at.room).filter(name => name.startsWith('.'))).toEqual([])
  })

  it('brings the directories on the way as they were, and counts what it restored', async () => {
    const at = filled()
    await at.backUp()
    const rules = { include: ['photo.jpg'], exclude: [] }
    const { result, path } = await restored(at, rules)
    expect(statSync(join(path, at.uploads, 'ticket-1')).mode & 0o777).toBe(0o750)
    // The root, the directory and the file.
    expect(result.part).toEqual({ entries: 3, files: 1, bytes: 300_002 })
    const target = { kind: 'path' as const, path: join(at.room, 'other'), force: false }
    const plan = await planRestore(at.context, at.restoring(target, { part: rules }))
    expect(plan).toMatchObject({ bytes: 300_002, part: { files: 1, named: [{ type: 'file' }] } })
    expect(existsSync(target.path)).toBe(false)
  })

  it('holds hard links of what it leaves out as files with their content, linked to each other', async () => {
    const at = filled()
    await at.backUp()
    const { path, result } = await restored(at, { include: ['*-link.pdf', join(at.logs, 'latest')] })
    const [a, b] = ['a-link.pdf', 'b-link.pdf'].map(name => join(path, at.uploads, 'ticket-2', name))
    expect(readFileSync(a ?? '').equals(noise(300_001, 1))).toBe(true)
    expect(statSync(a ?? '')).toMatchObject({ ino: statSync(b ?? '').ino, nlink: 2, mtimeMs: 1.4e12 })
    expect(differences(portrait(join(path, at.logs, 'latest')), portrait(join(at.logs, 'latest')))).toEqual([])
    expect(result.part?.files).toBe(1)
  })

  it('comes from every backup of a chain', async () => {
    const at = filled()
    const log = join(at.logs, 'app.log')
    const ids = [(await at.backUp()).id]
    const contents = [readFileSync(log)]
    for (const seed of [6, 7]) {
      appendFileSync(log, noise(50_000, seed))
      ids.push((await at.backUp({ type: 'incr' })).id)
      contents.push(readFileSync(log))
    }
    for (const [number, backup] of ids.entries()) {
      const { path } = await restored(at, { include: ['app.log'] }, { backup })
      expect(readFileSync(join(path, log)).equals(contents[number] ?? Buffer.alloc(0))).toBe(true)
    }
  })
})

describe('what is read for a part', () => {
  it('is what it needs: damage elsewhere is not met, damage in it is told and nothing is left', async () => {
    const at = directories()
    for (const [name, seed] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ] as const)
      writeFileSync(join(at.uploads, name), noise(2_000_000, seed))
    const { id } = await at.backUp()
    const image = join(at.source.repository.path, 'up', id, 'up.tar.zst')
    const bytes = readFileSync(image)
    const middle = Math.floor(bytes.length / 2)
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle)
    writeFileSync(image, bytes)
    for (const whole of ['a', 'c']) {
      const { path } = await restored(at, { include: [whole] })
      expect(readFileSync(join(path, at.uploads, whole)).equals(noise(2_000_000, whole === 'a' ? 1 : 3))).toBe(true)
    }
    const before = readdirSync(at.room)
    await expect(restored(at, { include: ['b'] })).rejects.toMatchObject({ kind: 'damage', code: 'chain_damaged' })
    expect(readdirSync(at.room)).toEqual(before)
  })
})

describe('what cannot be restored of a part', () => {
  const mistakes: [string, (at: Directories) => Partial<PartRules>, RegExp][] = [
    ['a misspelt name', () => ({ include: ['*.jpg', 'reprot.pdf'] }), /it holds .*ticket-1\/report\.pdf/],
    ['a wrong place', ({ uploads }) => ({ include: [join(uploads, 'photo.jpg')] }), /it holds .*ticket-1\/photo\.jpg/],
    ['other capitals', () => ({ include: ['Photo.JPG'] }), /it holds .*ticket-1\/photo\.jpg/],
    ['nothing like it', () => ({ include: ['zzzzzzzzz'] }), /^see what it holds: nexus-backup list \S+ --files$/],
    ['all excluded', () => ({ include: ['*.jpg'], exclude: ['*.jpg'] }), /list/],
  ]

  it('is told before anything is written, with what may have been meant', async () => {
    const at = filled()
    await at.backUp()
    const before = readdirSync(at.room)
    for (const [what, rules, hint] of mistakes) {
      const error = { kind: 'not-found', code: 'nothing_included', hint: expect.stringMatching(hint) }
      await expect(restored(at, rules(at)), what).rejects.toMatchObject(error)
      expect(readdirSync(at.room), what).toEqual(before)
    }
    await expect(restored(at, { include: ['[a'] })).rejects.toMatchObject({ kind: 'usage', code: 'pattern_invalid' })
    const inPlace = { kind: 'in-place' as const, source: at.source }
    const request = at.restoring(inPlace, { part: { include: ['*.pdf'], exclude: [] } })
    const refusal = { kind: 'usage', hint: expect.stringContaining('--to DIR') }
    await expect(planRestore(at.context, request)).rejects.toMatchObject(refusal)
  })
})
