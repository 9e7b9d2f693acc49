import { spawnSync } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { findCommand } from '../../src/cli/declaration/index.js'
import { parseCommandLine } from '../../src/cli/parser.js'
import { keyOf, linesOf, writeNote } from '../../src/operations/wal/note.js'
import { checkout } from '../helpers/checkout.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const segment = '000000010000000000000042'

/** Each option of the command and of every command, in each place where the parser takes it. */
function linesOfOptions(verb: 'archive' | 'fetch', operands: readonly string[]): string[][][] {
  const words = ['pitr', verb, ...operands]
  const own = findCommand(`pitr ${verb}`)?.options ?? []
  const everywhere = globalOptions.filter(({ name }) => name !== 'help')
  return [...everywhere, ...own].map(option => {
    const { name, value } = option
    const forms = value === undefined ? [[`--${name}`]] : [[`--${name}`, '/a file'], [`--${name}=7`]]
    return [0, 1, 2, 3, 4].flatMap(gap => {
      const isTaken = gap <= words.length && (gap >= 2 || everywhere.includes(option))
      return isTaken ? forms.map(form => [...words.slice(0, gap), ...form, ...words.slice(gap)]) : []
    })
  })
}

/** The answer of the program's first lines alone, in a data directory; they start no Node. */
function answer(words: readonly string[], data: string): number | null {
  const env = { PATH: process.env.PATH, NEXUS_BACKUP_NODE: join(data, 'no-node'), TMPDIR: data }
  return spawnSync(join(checkout, 'bin/nexus-backup'), words, { cwd: data, env, stdio: 'ignore' }).status
}

/** Of the lines of each option another one: the shell does not know options, and starts a process for each. */
function someOf(lines: readonly string[][][]): string[][] {
  return lines.map((ofOne, at) => ofOne[at % ofOne.length] ?? [])
}

function dataDirectory(): string {
  const data = realpathSync(temporaryDirectory())
  mkdirSync(join(data, 'pg_wal/.nexus-backup'), { recursive: true })
  writeFileSync(join(data, 'no-node'), '#!/bin/sh\nexit 77\n', { mode: 0o755 })
  return data
}

function key(verb: 'archive' | 'fetch', words: readonly string[], data: string): string {
  const { operands } = parseCommandLine(words)
  const found = keyOf(verb, { words, operands }, { cwd: data, env: {} })
  if (found === undefined) throw new Error(`no key: ${words.join(' ')}`)
  return found
}

describe('what was done ahead answers the next call', () => {
  it('of pitr archive, with each option in each place', () => {
    const data = dataDirectory()
    const file = join(data, 'pg_wal', segment)
    writeFileSync(file, 'a segment')
    const note = join(data, 'pg_wal/.nexus-backup', `${segment}.stored`)
    const lines = linesOfOptions('archive', [`pg_wal/${segment}`])
    for (const words of lines.flat()) key('archive', words, data)
    const unanswered = someOf(lines).filter(words => {
      writeNote(note, key('archive', words, data), linesOf([file]))
      return answer(words, data) !== 0
    })
    expect(unanswered).toEqual([])
  })

  it('of pitr fetch, with each option in each place', () => {
    const data = dataDirectory()
    const model = join(data, 'model')
    writeFileSync(model, 'a segment')
    const spool = join(data, `nexus-backup-wal${data.replaceAll('/', '-')}`)
    mkdirSync(spool, { mode: 0o700 })
    const to = join(data, 'pg_wal/RECOVERYXLOG')
    const aside = join(spool, `${segment}.fetched`)
    const lines = linesOfOptions('fetch', [segment, 'pg_wal/RECOVERYXLOG'])
    for (const words of lines.flat()) key('fetch', words, data)
    const unanswered = someOf(lines).filter(words => {
      rmSync(to, { force: true })
      linkSync(model, aside)
      writeNote(`${aside}.note`, key('fetch', words, data), linesOf([aside]))
      return answer(words, data) !== 0 || existsSync(aside)
    })
    expect(unanswered).toEqual([])
  })
})
