import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { leafCommands } from '../../src/cli/declaration/index.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'

async function script(shell: string): Promise<string> {
  return (await runFake(['completion', shell])).stdout
}

/** What bash offers for a line whose last word is being typed. */
async function offered(...words: string[]): Promise<string[]> {
  const file = join(temporaryDirectory(), 'completion.bash')
  writeFileSync(file, await script('bash'))
  const run =
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell reads it
    'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nexus_backup; printf "%s\\n" "${COMPREPLY[@]}"'
  const text = execFileSync('bash', ['-c', run, 'bash', file, 'nexus-backup', ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return text.split('\n').filter(line => line !== '')
}

describe('completion', () => {
  it('for bash is a script that bash accepts', async () => {
    const text = await script('bash')
    expect(() => execFileSync('bash', ['-n'], { input: text })).not.toThrow()
  })

  it('for bash offers commands, subcommands, options and choices', async () => {
    expect(await offered('cr')).toEqual(['create'])
    expect(await offered('pitr', '')).toEqual(['points', 'restore', 'archive', 'fetch'])
    expect(await offered('create', '--type', '')).toEqual(['auto', 'full', 'diff', 'incr'])
    expect(await offered('--repo', '/r', 'restore', '--in')).toEqual(['--in-place'])
    expect(await offered('pitr', 'restore', 'itsm', '--a')).toEqual(['--at'])
    expect(await offered('pitr', 'restore', 'itsm', '--timeline', '')).toEqual(['latest', 'current'])
    expect(await offered('pitr', 'restore', 'itsm', '--target-action', '')).toEqual(['promote', 'pause'])
    expect(await offered('restore', 'pg', '--tablespace-map', '/us')).toContain('/usr')
    expect(await offered('completion', 'z')).toEqual(['zsh'])
    expect(await offered('create', '--label', '')).toEqual([])
  })

  it.each(['bash', 'zsh', 'fish'])('for %s knows every command and option', async shell => {
    const text = await script(shell)
    for (const command of leafCommands()) {
      for (const word of command.name.split(' ')) expect(text).toContain(word)
      for (const { name } of [...command.options, ...globalOptions]) {
        expect(text).toContain(shell === 'fish' ? `-l ${name} ` : `--${name}`)
      }
    }
  })
})
