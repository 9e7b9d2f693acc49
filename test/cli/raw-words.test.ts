import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { mayHaveRawBytes, rawWords } from '../../src/cli/raw-words.js'

const line = (...words: (string | Buffer)[]) => Buffer.concat(words.flatMap(word => [Buffer.from(word), Buffer.of(0)]))

describe('words of the command line', () => {
  const raw = Buffer.from([0x61, 0xff, 0x96, 0x7b])
  const lossy = raw.toString()

  it('have their bytes, as names of files have', () => {
    const read = () => line('/usr/bin/node', '--flag', 'main.mjs', 'restore', 'up', '--include', raw, '')
    expect(rawWords(['restore', 'up', '--include', lossy, ''], read)).toEqual([
      ...['restore', 'up', '--include', 'a\udcff\udc96{', ''],
    ])
  })

  it.each<[string, () => Buffer]>([
    ['another command line', () => line('node', 'main.mjs', 'other')],
    ['fewer words', () => line(raw)],
    ['nothing', () => Buffer.alloc(0)],
    [
      'an error',
      () => {
        throw new Error('ENOENT')
      },
    ],
  ])('stay as they are with %s', (_, read) => {
    expect(rawWords(['a', lossy, '\ufffd'], read)).toEqual(['a', lossy, '\ufffd'])
  })

  it('that really hold what stands for such a byte are left alone', () => {
    expect(mayHaveRawBytes(['a', 'ü'])).toBe(false)
    expect(rawWords(['\ufffd'], () => line('node', '\ufffd'))).toEqual(['\ufffd'])
  })

  it('come from the system as they are read here', () => {
    const script = "process.stdout.write(require('fs').readFileSync('/proc/self/cmdline').toString('hex'))"
    const shell = `exec "$0" -e "${script}" -- "$(printf '\\377x')"`
    const hex = execFileSync('sh', ['-c', shell, process.execPath], { encoding: 'utf8' })
    expect(rawWords(['\ufffdx'], () => Buffer.from(hex, 'hex'))).toEqual(['\udcffx'])
  })
})
