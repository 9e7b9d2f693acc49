import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CallSurroundings, keyOf, linesOf, stampOf } from '../../../src/operations/wal/note.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const around = { cwd: '/data', env: { HOME: '/home' } }
const segment = '000000010000000000000042'
const archiving = (words: string[], of: CallSurroundings = around) =>
  keyOf('archive', { words, operands: words.filter(word => word.includes('/0')) }, of)
const archive = (...words: string[]) => archiving(words)
const fetching = (name: string, path: string) =>
  keyOf('fetch', { words: ['pitr', 'fetch', name, path], operands: [name, path] }, around)

describe('the key of a call', () => {
  it('is the same for every file and another for anything else', () => {
    const key = archive('--config', '/c', 'pitr', 'archive', `pg_wal/${segment}`)
    expect(key).toBeDefined()
    expect(archive('--config', '/c', 'pitr', 'archive', 'pg_wal/00000002.history')).toBe(key)
    expect(archive('--config', '/d', 'pitr', 'archive', `pg_wal/${segment}`)).not.toBe(key)
    expect(archive('--config', '/c', 'pitr', 'archive', `/elsewhere/${segment}`)).not.toBe(key)
    const words = ['--config', '/c', 'pitr', 'archive', `pg_wal/${segment}`]
    expect(archiving(words, { ...around, cwd: '/other' })).not.toBe(key)
    expect(archiving(words, { ...around, env: { HOME: '/home', NEXUS_BACKUP_REPO: '/r' } })).not.toBe(key)
    expect(archive('--config', '/c', 'pitr', 'archive', `pg_wal/${segment}`, '--quiet')).toBeDefined()
    const to = 'pg_wal/RECOVERYXLOG'
    expect(fetching(segment, to)).toBe(fetching('000000010000000000000043', to))
    expect(fetching(segment, 'pg_wal/RECOVERYHISTORY')).toBeUndefined()
  })

  it.each([
    [['pitr', 'archive', `pg_wal/${segment}`, '--source', 'fetch']],
    [['--config', '/etc/0123ABCD.yaml', 'pitr', 'archive', `pg_wal/${segment}`]],
    [['archive', `pg_wal/${segment}`]],
    [['pitr', 'archive', segment]],
    [['pitr', 'archive', 'pg_wal/x']],
    [['pitr', 'fetch', `pg_wal/${segment}`]],
    [['--config', 'a|b', 'pitr', 'archive', `pg_wal/${segment}`]],
    [['--config', 'a\nb', 'pitr', 'archive', `pg_wal/${segment}`]],
  ])('is not given where the shell could not tell calls apart: %j', words => {
    expect(archive(...words)).toBeUndefined()
  })
})

describe('the lines of a note', () => {
  it('say of a file what stat says', () => {
    const file = join(temporaryDirectory(), 'a file')
    writeFileSync(file, 'content')
    expect(stampOf(file)).toBe(execFileSync('stat', ['-c', '%i %s %.Y', file], { encoding: 'utf8' }).trim())
    expect(linesOf([file, `${file}.absent`])).toEqual([`= ${stampOf(file)} ${file}`, `- ${file}.absent`])
  })
})
