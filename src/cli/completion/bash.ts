import type { OptionDeclaration } from '../declaration/types.js'
import { type CompletionEntry, completionEntries, valuedOptions } from './words.js'

/** A completion script for bash, which needs nothing but bash itself. */
export function bashCompletion(): string {
  const entries = completionEntries()
  const valued = valuedOptions(entries)
  const paths = entries.map(entry => entry.path).filter(path => path !== '')
  return `# bash completion for nexus-backup
_nexus_backup_sources() {
  COMPREPLY=($(compgen -W "$("\${COMP_WORDS[0]}" completion sources "\${config[@]}" 2>/dev/null)" -- "$current"))
}
_nexus_backup() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' at words='' options='' operand=''
  local -a config=()
  COMPREPLY=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in
      ${flags(valued)})
        [[ \${COMP_WORDS[at]} == --config && $((at + 1)) -lt $COMP_CWORD ]] && config=(--config "\${COMP_WORDS[at+1]}")
        at=$((at + 1));;
      -*) ;;
      *) case "\${path:+$path }\${COMP_WORDS[at]}" in
        ${paths.map(path => `'${path}'`).join('|')}) path="\${path:+$path }\${COMP_WORDS[at]}";;
      esac;;
    esac
  done
  case $previous in
${valued.map(caseOf).join('\n')}
  esac
  case $path in
${entries.map(renderEntry).join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    case $operand in
      source) _nexus_backup_sources;;
      file) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null;;
      *) COMPREPLY=($(compgen -W "$options" -- "$current"));;
    esac
  fi
}
complete -F _nexus_backup nexus-backup
`
}

function flags(options: readonly OptionDeclaration[]): string {
  return options.map(({ name }) => `--${name}`).join('|')
}

/** What is offered for the value of an option. */
function caseOf({ name, choices, suggestions, complete }: OptionDeclaration): string {
  const words = choices ?? suggestions
  return `    --${name}) ${words === undefined ? actionFor(complete) : offer(`-W '${words.join(' ')}'`)}return;;`
}

function actionFor(complete: OptionDeclaration['complete']): string {
  if (complete === 'file') return `${offer('-f')}compopt -o filenames 2>/dev/null; `
  if (complete === 'directory') return `${offer('-d')}compopt -o filenames 2>/dev/null; `
  return complete === 'source' ? '_nexus_backup_sources; ' : ''
}

function offer(what: string): string {
  return `COMPREPLY=($(compgen ${what} -- "$current")); `
}

function renderEntry({ path, words, options, operand }: CompletionEntry): string {
  const names = options.map(({ name }) => `--${name}`).join(' ')
  return `    '${path}') words='${words.map(({ word }) => word).join(' ')}' options='${names}' operand=${operand};;`
}
