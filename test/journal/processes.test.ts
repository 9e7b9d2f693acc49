import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openJournal } from '../../src/journal/journal.js'
import { compiled } from '../helpers/compiled.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const who = { host: 'db1', operator: { user: 'root', sudo_user: null } }
const now = () => new Date('2025-11-03T03:00:00Z')

function writer(modules: string, body: string): string {
  const file = join(modules, 'writer.mjs')
  writeFileSync(
    file,
    `import { openJournal } from './journal/journal.js'
     const journal = openJournal(process.argv[2], { now: () => new Date(), ...${JSON.stringify(who)} })
     ${body}`,
  )
  return file
}

describe('a journal with several processes', () => {
  it('stays one unbroken chain when they all write at once, the first of them making it', async () => {
    const state = join(temporaryDirectory(), 'state')
    const count = 40
    const program = writer(
      compiled(['journal/journal.ts']),
      `for (let n = 0; n < ${count}; n++) {
         journal.begin({ operation: 'create', source: process.argv[3], repository: null }).end({ result: 'done' })
       }`,
    )
    const names = ['a', 'b', 'c', 'd']
    const children = names.map(name => spawn(process.execPath, [program, state, name], { stdio: 'inherit' }))
    const ends = await Promise.all(children.map(child => once(child, 'exit')))
    expect(ends.map(([status]) => status)).toEqual([0, 0, 0, 0])
    const { records, chain } = openJournal(state, { ...who, now }).read()
    expect(chain).toEqual({ ok: true })
    for (const name of names) {
      const own = records.filter(({ source, result }) => source === name && result === 'done')
      expect(own).toHaveLength(count)
    }
  })

  it('shows the operation of a killed process as interrupted, and that of a living one as running', async () => {
    const state = temporaryDirectory()
    const program = writer(
      compiled(['journal/journal.ts']),
      `journal.begin({ operation: 'create', source: 'itsm', repository: null })
       process.stdout.write('begun')
       setInterval(() => {}, 1000)`,
    )
    const child = spawn(process.execPath, [program, state], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    const journal = openJournal(state, { ...who, now })
    expect(journal.read().records[0]?.result).toBe('running')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(journal.read().records[0]?.result).toBe('interrupted')
    journal.begin({ operation: 'create', source: 'itsm', repository: null }).end({ result: 'done' })
    expect(journal.read().chain).toEqual({ ok: true })
  })
})

describe('a full disk', () => {
  it('stops the journal with a clear error, loses nothing, and lets it go on when there is room again', ({ skip }) => {
    const state = smallDisk('256k', skip)
    const journal = openJournal(state, { ...who, now })
    onTestFinished(() => journal.close())
    journal.begin({ operation: 'create', source: 'first', repository: null }).end({ result: 'done' })
    const ballast = join(state, 'ballast')
    fill(ballast)
    const begun: number[] = []
    const full = expect.objectContaining({ kind: 'failed', code: 'journal_full', hint: expect.stringContaining(state) })
    expect(() => {
      for (let n = 0; n < 1000; n++) {
        journal.begin({ operation: 'create', source: 'x'.repeat(1000), repository: null })
        begun.push(n)
      }
    }).toThrow(full)
    expect(journal.read().chain).toEqual({ ok: true })
    expect(journal.read().records).toHaveLength(1 + begun.length)
    rmSync(ballast)
    journal.begin({ operation: 'create', source: 'after', repository: null }).end({ result: 'done' })
    expect(journal.read()).toMatchObject({ chain: { ok: true } })
    expect(journal.read().records.at(-1)).toMatchObject({ source: 'after', result: 'done' })
  })

  it('is told when there is not even room to make the journal', ({ skip }) => {
    const state = smallDisk('16k', skip)
    fill(join(state, 'ballast'))
    const journal = openJournal(state, { ...who, now })
    onTestFinished(() => journal.close())
    const begin = () => journal.begin({ operation: 'create', source: null, repository: null })
    expect(begin).toThrow(expect.objectContaining({ code: 'journal_full' }))
    rmSync(join(state, 'ballast'))
    const roomier = spawnSync('mount', ['-o', 'remount,size=256k', state])
    expect(roomier.status).toBe(0)
    begin().end({ result: 'done' })
    expect(journal.read()).toMatchObject({ chain: { ok: true }, records: [{ result: 'done' }] })
  })
})

/** A file system of its own, gone after the test. */
function smallDisk(size: string, skip: (reason: string) => void): string {
  const directory = temporaryDirectory()
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory])
  if (mounted.status !== 0) skip('mounting a tmpfs needs root')
  onTestFinished(() => void spawnSync('umount', [directory]))
  return directory
}

/** Leaves no room for anything. */
function fill(file: string): void {
  for (const size of [4096, 1]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(size), { flag: 'a' })
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' })
    }
  }
}
