import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { leafCommands } from '../../src/cli/declaration/index.js'
import { checkout } from '../helpers/checkout.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

async function script(shell: Shell): Promise<string> {
  return (await runFake(['completion', shell])).stdout
}

/** What a shell offers for each line whose last word is being typed; the program is the one that was built. */
async function offered(shell: Shell, lines: readonly string[]): Promise<string[][]> {
  const room = temporaryDirectory()
  const file = join(room, `completion.${shell}`)
  writeFileSync(file, await script(shell))
  const [usual, other] = [configuration(room, ['itsm', 'uploads']), configuration(room, ['elsewhere'])]
  const typed = lines.map(line => `nexus-backup ${line.replace('OTHER', other)}`)
  const [program = '', ...args] = commandFor(shell, { file, room, typed })
  const text = execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      PATH: `${join(checkout, 'bin')}${delimiter}${process.env.PATH}`,
      HOME: room,
      LC_ALL: 'C.UTF-8',
      NEXUS_BACKUP_CONFIG: usual,
    },
  })
  // fish tells what a word means as well; zsh names a path's last part.
  const words = text.split('\n').map(word => (word.split('\t')[0] ?? '').replace(/^\/?(.*?)\/?$/, '$1'))
  const found: string[][] = [[]]
  for (const word of words) {
    if (word === '.') found.push([])
    else if (word !== '') found.at(-1)?.push(word)
  }
  return found.slice(0, -1).map(list => list.sort())
}

function configuration(room: string, names: string[]): string {
  const file = join(room, `${names[0]}.yaml`)
  const sources = names.map(name => `${name}: { kind: files, paths: [/srv/${name}] }`).join(', ')
  writeFileSync(file, `repositories: { local: { path: ${room} } }\nsources: { ${sources} }\n`)
  return file
}

/** Runs the shell, which ends what it says to each line with a line of a dot. */
function commandFor(shell: Shell, { file, room, typed }: { file: string; room: string; typed: string[] }): string[] {
  if (shell === 'fish') {
    return [
      'fish',
      '--no-config',
      '-c',
      'source $argv[1]; for line in $argv[2..]; complete -C $line; echo .; end',
      file,
      ...typed,
    ]
  }
  if (shell === 'zsh') return ['zsh', '-f', join(checkout, 'test/cli/programs/zsh-offers.zsh'), file, room, ...typed]
  const run = [
    'source "$1"; shift; for line; do',
    // As readline cuts it: what ends in a space begins an empty word.
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell reads it
    'read -ra COMP_WORDS <<< "${line}x"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_WORDS[COMP_CWORD]=${COMP_WORDS[COMP_CWORD]%x}',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell reads it
    '_nexus_backup; printf "%s\\n" "${COMPREPLY[@]}" .; done',
  ]
  return ['bash', '-c', run.join('\n'), 'bash', file, ...typed]
}

const cases: [line: string, words: string[]][] = [
  ['cr', ['create']],
  ['pitr ', ['archive', 'check', 'fetch', 'points', 'restore']],
  ['create --type ', ['auto', 'diff', 'full', 'incr']],
  ['--repo /r restore --in', ['--in-place', '--include']],
  ['restore itsm --in', ['--in-place', '--include']],
  ['restore itsm --overwrite if-', ['if-changed', 'if-newer']],
  ['pitr restore itsm --a', ['--allow-damaged', '--at']],
  ['pitr restore itsm --in', []],
  ['pitr restore itsm --timeline ', ['current', 'latest']],
  ['pitr restore itsm --target-action ', ['pause', 'promote', 'shutdown']],
  ['restore pg --tablespace-map a=b --tablespace-m', ['--tablespace-map']],
  ['completion z', ['zsh']],
  ['create --label ', []],
  ['create ', ['itsm', 'uploads']],
  ['--repo /r verify it', ['itsm']],
  ['pitr points u', ['uploads']],
  ['restore itsm --in-place --confirm ', ['itsm', 'uploads']],
  ['list --config OTHER ', ['elsewhere']],
  ['pitr archive /us', ['usr']],
  ['list --repo /us', ['usr']],
]

describe.each(shells)('completion for %s', shell => {
  /** Its package is of the same name. */
  const mustBeThere = (skip: (reason: string) => void) => {
    if (spawnSync(shell, ['--version']).status !== 0) skip(`${shell} is not installed: apt-get install ${shell}`)
  }

  it(`is a script that ${shell} accepts`, async ({ skip }) => {
    mustBeThere(skip)
    const file = join(temporaryDirectory(), 'completion')
    writeFileSync(file, await script(shell))
    expect(() => execFileSync(shell, ['-n', file])).not.toThrow()
  })

  it('offers commands, subcommands, options, choices, sources and paths where they belong', async ({ skip }) => {
    mustBeThere(skip)
    const found = await offered(
      shell,
      cases.map(([line]) => line),
    )
    expect(cases.map(([line], at) => [line, found[at]])).toEqual(cases)
  })

  it('knows every command and option', async () => {
    const text = await script(shell)
    for (const command of leafCommands()) {
      for (const word of command.name.split(' ')) expect(text).toContain(word)
      for (const { name } of [...command.options, ...globalOptions]) {
        expect(text).toContain(shell === 'fish' ? `-l ${name} ` : `--${name}`)
      }
    }
  })
})

describe('what the scripts ask for', () => {
  it('is the names of the configured sources, one a line', async () => {
    const configuration = join(temporaryDirectory(), 'config.yaml')
    writeFileSync(
      configuration,
      'repositories: { local: { path: /r } }\nsources: { app: { kind: sqlite, path: /a.db } }\n',
    )
    expect(await runFake(['completion', 'sources', '--config', configuration])).toMatchObject({
      status: 0,
      stdout: 'app\n',
    })
  })
})
