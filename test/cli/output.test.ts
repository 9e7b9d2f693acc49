import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { commands, findCommand, leafCommands } from '../../src/cli/declaration/index.js'
import { noPaint, paintFor, wantsColour } from '../../src/cli/output/colour.js'
import { errorDocument, errorText } from '../../src/cli/output/errors.js'
import { humanBytes, humanDuration, humanTime, printable } from '../../src/cli/output/format.js'
import { table } from '../../src/cli/output/table.js'
import { pasteable } from '../../src/cli/pasteable.js'
import { progressLine } from '../../src/cli/progress.js'
import { NexusError } from '../../src/errors.js'
import { shellQuoted } from '../../src/operations/shell.js'

/** Where this program's texts stand. */
const SOURCES = new URL('../../src', import.meta.url).pathname

describe('figures for people', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1024 * 1024 - 1, '1.0 MiB'],
    [1_070_000_000, '1020.4 MiB'],
    [5 * 1024 ** 4, '5.0 TiB'],
  ])('%d bytes are %s', (bytes, text) => expect(humanBytes(bytes)).toBe(text))

  it.each([
    [999, '999 ms'],
    [2400, '2.4 s'],
    [59_999, '1 min 0 s'],
    [200_000, '3 min 20 s'],
    [7_500_000, '2 h 5 min'],
    [3 * 86_400_000, '3 d 0 h'],
  ])('%d milliseconds are %s', (duration, text) => expect(humanDuration(duration)).toBe(text))

  it('shows an instant on the clock of the zone', () => {
    expect(humanTime('2025-11-03T03:00:00.123Z', 'Asia/Tokyo')).toBe('2025-11-03 12:00:00 GMT+9')
    expect(humanTime('2025-11-03T03:00:00.123Z', 'UTC')).toBe('2025-11-03 03:00:00 UTC')
    expect(humanTime('yesterday', 'UTC')).toBe('yesterday')
  })

  it('are told of thousands of times with one clock for their zone', () => {
    let made = 0
    class Counted extends Intl.DateTimeFormat {
      constructor(...how: ConstructorParameters<typeof Intl.DateTimeFormat>) {
        super(...how)
        made += 1
      }
    }
    vi.stubGlobal('Intl', { DateTimeFormat: Counted })
    for (let day = 10; day < 28; day += 1) humanTime(`2025-11-${day}T03:00:00Z`, 'Pacific/Chatham')
    vi.unstubAllGlobals()
    expect(made).toBe(1)
  })

  it('lets no control character through to a terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
        expect(printable(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
      }),
    )
  })
})

describe('a word for the shell', () => {
  it('is read back by a shell as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), word => {
        fc.pre(!word.includes('\0'))
        const back = execFileSync('/bin/sh', ['-c', `printf '%s.' ${shellQuoted(word)}`], { encoding: 'utf8' })
        expect(back).toBe(`${word}.`)
      }),
      { numRuns: 30 },
    )
  })

  it('stays plain where nothing needs quoting', () => {
    expect(shellQuoted('/var/backups/nexus')).toBe('/var/backups/nexus')
    expect(shellQuoted('')).toBe("''")
  })
})

describe('colour', () => {
  const ask = (terminal: boolean, env: Record<string, string>, noColorFlag = false) =>
    wantsColour({ terminal, env, noColorFlag })

  it('is on only on a terminal that can, unless it is forced', () => {
    expect(ask(true, { TERM: 'xterm' })).toBe(true)
    expect(ask(false, { TERM: 'xterm' })).toBe(false)
    expect(ask(true, { TERM: 'dumb' })).toBe(false)
    expect(ask(false, { FORCE_COLOR: '1' })).toBe(true)
    expect(ask(true, { FORCE_COLOR: '0' })).toBe(false)
  })

  it('is off with --no-color and with a NO_COLOR that is not empty', () => {
    expect(ask(true, { FORCE_COLOR: '1' }, true)).toBe(false)
    expect(ask(true, { NO_COLOR: '1', FORCE_COLOR: '1' })).toBe(false)
    expect(ask(true, { NO_COLOR: '' })).toBe(true)
  })

  it('marks text for a terminal', async () => {
    const paint = await paintFor({ terminal: true, env: {}, noColorFlag: false })
    expect(paint.bad('x')).toBe('\u001b[31mx\u001b[39m')
  })
})

describe('an error', () => {
  const error = new NexusError('refused', 'target_exists', '/x is there', { hint: 'add --force' })

  const nothing = { warnings: [], place: [] }

  it('says what failed and what to do', () => {
    expect(errorText(error, noPaint, [])).toBe('nexus-backup: error: /x is there\nhint: add --force\n')
  })

  it('shows where a defect happened', () => {
    expect(errorText(new TypeError('x is not a function'), noPaint, [])).toMatch(/\n {4}at .*\nhint: this is a defect/)
  })

  it('of the system shows no stack, and says what to do about a full disk', () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    expect(errorText(full, noPaint, [])).toMatch(/^nexus-backup: error: ENOSPC.*\nhint: make room/)
    expect(errorDocument(full, 1, nothing)).toMatchObject({ error: { code: 'enospc', exit_code: 1 } })
  })

  it('is one JSON object with its status', () => {
    expect(errorDocument(error, 8, nothing)).toEqual({
      error: { code: 'target_exists', exit_code: 8, message: '/x is there', hint: 'add --force' },
    })
    expect(errorDocument(error, 8, { ...nothing, warnings: ['w'] })).toHaveProperty('warnings', ['w'])
  })
})

describe('a command in a hint', () => {
  const place = [['--repo', '/srv/my backups'] as const, ['--name', 'itsm'] as const]

  it('is completed with the place of the run, quoted', () => {
    expect(pasteable('try: nexus-backup list itsm', place)).toBe(
      "try: nexus-backup --repo '/srv/my backups' --name itsm list itsm",
    )
  })

  it.each(commands.map(({ name }) => name))('is completed whichever it is: %s', name => {
    expect(pasteable(`nexus-backup ${name} x`, place)).toBe(
      `nexus-backup --repo '/srv/my backups' --name itsm ${name} x`,
    )
  })

  it('is one that there is, with options that it has, wherever this program names one', () => {
    const names = leafCommands().map(({ name }) => name)
    const named = new RegExp(`nexus-backup (${names.sort((a, b) => b.length - a.length).join('|')})\\b([^;\\n)]*)`, 'g')
    const general = new Set(globalOptions.map(({ name }) => name))
    const found: string[] = []
    let count = 0
    for (const file of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })) {
      if (!/\.ts$/.test(file)) continue
      const text = readFileSync(join(SOURCES, file), 'utf8')
      for (const [what, name = '', rest = ''] of text.matchAll(named)) {
        count += 1
        const its = new Set(findCommand(name)?.options.map(option => option.name))
        // What follows in the sentence may name options of its own.
        const given = rest.split(/[`'",:]| to | or | and |: /)[0] ?? ''
        for (const [, option = ''] of given.matchAll(/ --([a-z-]+)/g)) {
          if (!its.has(option) && !general.has(option)) found.push(`${file}: ${what}`)
        }
      }
    }
    expect(count).toBeGreaterThan(100)
    expect(found).toEqual([])
  })

  it('is completed for itself where a text has several', () => {
    expect(pasteable('nexus-backup keys add F --repo=/x, then nexus-backup keys rotate', place)).toBe(
      "nexus-backup --name itsm keys add F --repo=/x, then nexus-backup --repo '/srv/my backups' --name itsm keys rotate",
    )
  })

  it('keeps the flags it has, and everything that is no command of ours', () => {
    expect(pasteable('nexus-backup create --repo /x --init', place)).toBe(
      'nexus-backup --name itsm create --repo /x --init',
    )
    expect(pasteable("see 'nexus-backup --help' and nexus-backup(1)", place)).toBe(
      "see 'nexus-backup --help' and nexus-backup(1)",
    )
  })
})

describe('a table', () => {
  it('aligns its columns and leaves no blanks at the end of a line', () => {
    const text = table(
      [{ title: 'A' }, { title: 'SIZE', align: 'right' }, { title: 'C' }],
      [
        ['one', '1', ''],
        ['a', '1234567', 'x'],
      ],
    )
    expect(text).toBe('A       SIZE  C\none        1\na    1234567  x\n')
  })

  it('keeps a hostile cell on its line', () => {
    expect(table([{ title: 'A' }], [['x\n\u001b[2Jy']])).toBe('A\nx\\x0a\\x1b[2Jy\n')
  })
})

describe('the progress line', () => {
  const at = (done: number, total: number | undefined, elapsed: number) =>
    progressLine({ name: 'itsm: reading', startedAt: 0, last: { phase: 'itsm: reading', done, total } }, elapsed)

  it('tells percent, rate and time left', () => {
    expect(at(50 * 1024 ** 2, 100 * 1024 ** 2, 2000)).toBe(
      'itsm: reading 50 % · 50.0 MiB of 100.0 MiB · 25.0 MiB/s · 2.0 s left',
    )
  })

  it('claims no end where none is known, and no rate before there is one', () => {
    expect(at(1024, undefined, 500)).toBe('itsm: reading 1.0 KiB')
    expect(at(0, 0, 0)).toBe('itsm: reading 100 % · 0 B of 0 B')
  })
})
