import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createKeyFile, readKeyFile } from '../../src/keys/key-file.js'
import { assertWorthy, isBearable, passphraseOf } from '../../src/keys/passphrase.js'
import { readPassphrase } from '../../src/keys/read-passphrase.js'
import type { KeyTools } from '../../src/keys/recipient.js'
import { checkout } from '../helpers/checkout.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const tools: KeyTools = { env: process.env, signal: new AbortController().signal, ask: undefined }

describe('a key file', () => {
  it('is made once, 0600, and read again', () => {
    const path = join(temporaryDirectory(), 'key')
    const name = createKeyFile(path, new Date('2025-11-03T00:00:00Z'))
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readFileSync(path, 'utf8')).toContain(name)
    expect(readKeyFile(path)).toHaveLength(32)
    expect(() => createKeyFile(path, new Date())).toThrow(expect.objectContaining({ code: 'key_file_exists' }))
  })

  it.each([
    [0o604, true],
    [0o602, true],
    [0o620, true],
    [0o640, false],
    [0o400, false],
  ])('of mode %o is refused: %s', (mode, refused) => {
    const path = join(temporaryDirectory(), 'key')
    createKeyFile(path, new Date())
    chmodSync(path, mode)
    if (refused) expect(() => readKeyFile(path)).toThrow(expect.objectContaining({ code: 'secret_exposed' }))
    else expect(readKeyFile(path)).toHaveLength(32)
  })

  it.each([
    [0o777, true],
    [0o757, true],
    [0o1777, false],
    [0o775, false],
  ])('in a directory of mode %o, at any depth, is refused: %s', (mode, refused) => {
    const directory = join(temporaryDirectory(), 'keys')
    mkdirSync(join(directory, 'below'), { recursive: true })
    const path = join(directory, 'below', 'key')
    createKeyFile(path, new Date())
    chmodSync(directory, mode)
    const link = join(temporaryDirectory(), 'link')
    symlinkSync(path, link)
    const refusal = { code: 'secret_exposed', message: expect.stringContaining(directory) }
    for (const name of [path, link]) {
      if (refused) expect(() => readKeyFile(name)).toThrow(expect.objectContaining(refusal))
      else expect(readKeyFile(name)).toHaveLength(32)
    }
  })

  it('is whole or not there: what a killed run left beside it keeps nobody from making it', () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'key')
    writeFileSync(`${path}.new-00000000`, 'half')
    createKeyFile(path, new Date())
    expect(readKeyFile(path)).toHaveLength(32)
    expect(readdirSync(directory).sort()).toEqual(['key', 'key.new-00000000'])
    const missing = join(directory, 'none', 'key')
    expect(() => createKeyFile(missing, new Date())).toThrow(expect.objectContaining({ code: 'key_file_not_written' }))
  })

  it('is not taken for one when it is another secret, which is never quoted', () => {
    const path = join(temporaryDirectory(), 'key')
    writeFileSync(path, 'hunter2\n', { mode: 0o600 })
    const failure = (() => {
      try {
        return readKeyFile(path)
      } catch (error) {
        return error as Error
      }
    })()
    expect(failure).toMatchObject({ code: 'key_file_invalid' })
    expect(String(failure)).not.toContain('hunter2')
  })

  it.each(['', '# only a comment\n', 'NEXUS-BACKUP-KEY-1-short\n'])('%j is none', text => {
    const path = join(temporaryDirectory(), 'key')
    writeFileSync(path, text, { mode: 0o600 })
    expect(() => readKeyFile(path)).toThrow(expect.objectContaining({ code: 'key_file_invalid' }))
  })

  it('that is missing or a directory cannot be read', () => {
    const directory = temporaryDirectory()
    for (const path of [join(directory, 'none'), directory]) {
      expect(() => readKeyFile(path)).toThrow(expect.objectContaining({ code: 'secret_unreadable' }))
    }
  })
})

describe('what is no plain file', () => {
  it('and no pipe either is refused, and nobody is told to change the permissions of a device', () => {
    const failure = expect.objectContaining({ code: 'secret_unreadable', message: expect.stringContaining('a device') })
    expect(() => readKeyFile('/dev/null')).toThrow(failure)
  })

  it('but a pipe is read to its end; one that nobody has open for writing is empty and waits for nobody', () => {
    const pipe = join(temporaryDirectory(), 'pipe')
    execFileSync('mkfifo', ['-m', '600', pipe])
    expect(() => readKeyFile(pipe)).toThrow(expect.objectContaining({ code: 'key_file_invalid' }))
    const path = join(temporaryDirectory(), 'key')
    createKeyFile(path, new Date())
    // What a shell hands over as a file: the writer has it open before we have, and may write later.
    const script = 'exec "$0" --input-type=module -e "$1" <(sleep 0.2; cat "$2")'
    const program = `import { readKeyFile } from ${JSON.stringify(join(checkout, 'dist/keys/key-file.js'))}; console.log(readKeyFile(process.argv[1]).length)`
    expect(execFileSync('bash', ['-c', script, process.execPath, program, path], { encoding: 'utf8' })).toBe('32\n')
  })
})

describe('a passphrase', () => {
  it('is text: bytes that are none would all be taken for the same letter', async () => {
    const path = join(temporaryDirectory(), 'passphrase')
    for (const bytes of [Buffer.alloc(12, 0xff), Buffer.concat([Buffer.alloc(11, 0xff), Buffer.from([0xfe])])]) {
      writeFileSync(path, bytes, { mode: 0o600 })
      const sources = [
        { from: 'file', path },
        { from: 'command', command: ['cat', path] },
      ] as const
      for (const source of sources) {
        await expect(readPassphrase(source, tools)).rejects.toThrow('not UTF-8')
      }
    }
  })

  it('is one line without its end', () => {
    expect(passphraseOf('six random words\n', 'x')).toBe('six random words')
    expect(passphraseOf('dos\r\n', 'x')).toBe('dos')
    for (const text of ['', '\n', 'two\nlines\n']) {
      expect(() => passphraseOf(text, 'x')).toThrow(expect.objectContaining({ code: 'passphrase_invalid' }))
    }
  })

  it('has eight characters at least', () => {
    expect(() => assertWorthy('1234567')).toThrow(expect.objectContaining({ code: 'passphrase_short' }))
    assertWorthy('12345678')
  })

  it('asks for no work that would exhaust this machine, and for no trifle', () => {
    expect(isBearable({ log_n: 17, r: 8, p: 1 })).toBe(true)
    for (const cost of [
      { log_n: 30, r: 8, p: 1 },
      { log_n: 10, r: 8, p: 1 },
      { log_n: 17, r: 1024, p: 1 },
      { log_n: 17, r: 8, p: 100 },
      { log_n: Number.NaN, r: 8, p: 1 },
      { log_n: 23, r: 8, p: 1 },
    ]) {
      expect(isBearable(cost), JSON.stringify(cost)).toBe(false)
    }
  })

  it('comes from a file, a program, a systemd credential or a terminal', async () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'pass')
    writeFileSync(path, 'from a file\n', { mode: 0o600 })
    expect(await readPassphrase({ from: 'file', path }, tools)).toBe('from a file')
    const program = { from: 'command', command: ['sh', '-c', 'printf "%s\\n" "from a program"'] } as const
    expect(await readPassphrase(program, tools)).toBe('from a program')
    const env = { CREDENTIALS_DIRECTORY: directory }
    expect(await readPassphrase({ from: 'credential', name: 'pass' }, { ...tools, env })).toBe('from a file')
    const ask = async () => 'from a terminal'
    expect(await readPassphrase({ from: 'terminal' }, { ...tools, ask })).toBe('from a terminal')
  })

  it('that a program does not give is told without its output', async () => {
    const failing = { from: 'command', command: ['sh', '-c', 'echo topsecret; exit 3'] } as const
    const error = await readPassphrase(failing, tools).catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ code: 'passphrase_command_failed' })
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('topsecret')
    const missing = { from: 'command', command: ['/no/such/program'] } as const
    await expect(readPassphrase(missing, tools)).rejects.toMatchObject({ code: 'passphrase_command_failed' })
    const lines = { from: 'command', command: ['printf', 'a\\nb\\n'] } as const
    await expect(readPassphrase(lines, tools)).rejects.toMatchObject({ code: 'passphrase_command_failed' })
    await expect(readPassphrase({ from: 'terminal' }, tools)).rejects.toMatchObject({ code: 'passphrase_missing' })
    await expect(readPassphrase({ from: 'credential', name: 'x' }, { ...tools, env: {} })).rejects.toMatchObject({
      code: 'credential_missing',
    })
  })
})
