import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'

function configuration(text: string): string {
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(file, text, { mode: 0o600 })
  return file
}

const good = 'repositories: { r: { path: /r } }\nsources: { a: { kind: sqlite, path: /a.db } }\n'

describe('config check', () => {
  it('says that a configuration is valid', async () => {
    const file = configuration(good)
    const run = await runFake(['config', 'check', '--config', file])
    expect([run.status, run.stdout]).toEqual([0, `${file}: valid, 1 source, 1 repository\n`])
  })

  it('reports each mistake with its line, as text and as JSON', async () => {
    const file = configuration(`${good}tmezone: UTC\n`)
    const run = await runFake(['config', 'check', '--config', file])
    expect([run.status, run.stdout]).toEqual([7, ''])
    expect(run.stderr).toContain("line 3: tmezone: unknown key; did you mean 'timezone'?")
    const json = await runFake(['config', 'check', '--config', file, '--json'])
    expect(JSON.parse(json.stdout)).toMatchObject({ valid: false, problems: [{ line: 3, key: 'tmezone' }] })
    expect(JSON.parse(json.stderr).error.exit_code).toBe(7)
  })
})

describe('config show', () => {
  it('prints the settings in effect, defaults too, as a configuration', async () => {
    const file = configuration(good)
    const argv = ['config', 'show', '--config', file, '--state', '/s']
    const shown = await runFake(argv)
    const json = JSON.parse((await runFake([...argv, '--json'])).stdout)
    expect(json).toMatchObject({
      format_version: '1.0',
      command: 'config show',
      file,
      state: '/s',
      sources: {
        a: { repository: 'r', chain: { max_age: '1w', max_length: 100, max_ratio: 0.5 }, digest: 'xxh3-128' },
      },
    })
    const { format_version: _version, command: _command, file: _file, warnings: _warnings, ...settings } = json
    expect(parse(shown.stdout)).toEqual(settings)
  })
})
