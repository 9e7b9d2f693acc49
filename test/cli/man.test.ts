import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'

const root = new URL('../..', import.meta.url).pathname
const pages = readdirSync(`${root}man`).filter(name => /\.\d$/.test(name))
const mandoc = spawnSync('mandoc', ['-T', 'lint', '/dev/null']).error === undefined

describe('the man pages', () => {
  it.skipIf(!existsSync(`${root}dist/cli/main.js`))('say what the declaration says', () => {
    const { status, stderr } = spawnSync(process.execPath, [`${root}man/generate.mjs`, '--check'], { encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
  })

  it.skipIf(!mandoc).each(pages)('%s has no warning of mandoc', page => {
    const { stdout } = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', `${root}man/${page}`], { encoding: 'utf8' })
    expect(stdout).toBe('')
  })

  it.each(
    pages,
  )('%s shows no command that a terminal of 80 columns would fold: the second half would run alone', page => {
    let depth = 0
    for (const line of readFileSync(`${root}man/${page}`, 'utf8').split('\n')) {
      if (line.startsWith('.Bl')) depth += 1
      if (line.startsWith('.El')) depth -= 1
      if (!line.startsWith('.Dl ')) continue
      const text = line
        .slice('.Dl '.length)
        .replace(/^"|"$/g, '')
        .replace(/\\\(dq/g, '"')
        .replace(/\\\(aq/g, "'")
      expect(text.replace(/\\(.)/g, '$1').length, line).toBeLessThanOrEqual(66 - 4 * depth)
    }
  })

  it('show configurations that are valid', async () => {
    const text = readFileSync(`${root}man/nexus-backup-config.5`, 'utf8')
    const examples = [...text.matchAll(/^\.Bd -literal\n([\s\S]*?)^\.Ed/gm)].map(match => match[1] ?? '')
    expect(examples).toHaveLength(2)
    for (const example of examples) {
      const file = join(temporaryDirectory(), 'config.yaml')
      writeFileSync(file, example, { mode: 0o600 })
      expect(await runFake(['config', 'check', '--config', file])).toMatchObject({ status: 0 })
    }
  })
})
