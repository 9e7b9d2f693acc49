import { globalOptions } from '../declaration/globals.js'
import type { Completion, OptionDeclaration } from '../declaration/types.js'
import { type CompletionEntry, completionEntries, valuedOptions } from './words.js'

const SOURCES = "-a '(__nexus_backup_sources)'"

/** A completion script for fish. */
export function fishCompletion(): string {
  const entries = completionEntries()
  const globals = new Set(globalOptions.map(option => option.name))
  const lines = entries.flatMap(entry => {
    const when = `-n ${quote(`__nexus_backup_at ${entry.path === '' ? '' : quote(entry.path)}`.trim())}`
    const own = entry.path === '' ? globalOptions : entry.options.filter(option => !globals.has(option.name))
    return [
      ...entry.words.map(({ word, description }) => `${when} -a ${quote(word)} -d ${quote(description)}`),
      ...operandWords(entry).map(words => `${when} ${words}`),
      ...own.map(option => `${entry.path === '' ? '' : `${when} `}${optionWords(option)}`),
    ]
  })
  return `# fish completion for nexus-backup
function __nexus_backup_path
    set -l words (commandline -opc)
    set -l path
    set -l skipped 0
    for word in $words[2..-1]
        if test $skipped = 1
            set skipped 0
            continue
        end
        switch $word
            case ${flags(entries)}
                set skipped 1
            case '-*'
            case '*'
                if contains -- (string join ' ' $path $word) ${entries.flatMap(({ path }) => (path === '' ? [] : [quote(path)])).join(' ')}
                    set -a path $word
                end
        end
    end
    string join ' ' $path
end
function __nexus_backup_at
    set -l path (__nexus_backup_path)
    test "$path" = "$argv[1]"
end
function __nexus_backup_sources
    set -l words (commandline -opc)
    set -l config
    if set -l at (contains -i -- --config $words)
        set config --config $words[(math $at + 1)]
    end
    $words[1] completion sources $config 2>/dev/null
end
complete -c nexus-backup -f
${lines.map(line => `complete -c nexus-backup ${line}`).join('\n')}
`
}

function flags(entries: readonly CompletionEntry[]): string {
  return valuedOptions(entries)
    .map(({ name }) => `--${name}`)
    .join(' ')
}

function operandWords({ operand }: CompletionEntry): string[] {
  const words = wordsFor(operand)
  return words === '' ? [] : [words]
}

function wordsFor(complete: Completion | undefined): string {
  if (complete === 'file') return '-F'
  if (complete === 'directory') return "-f -a '(__fish_complete_directories)'"
  return complete === 'source' ? `-f ${SOURCES}` : ''
}

function optionWords({ name, value, description, choices, suggestions, complete }: OptionDeclaration): string {
  const flag = `-l ${name} -d ${quote(description)}`
  if (value === undefined) return flag
  const words = choices ?? suggestions
  const values = words === undefined ? wordsFor(complete) || '-f' : `-f -a ${quote(words.join(' '))}`
  return `${flag} -r ${values}`
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
