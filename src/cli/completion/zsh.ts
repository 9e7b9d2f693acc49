import type { Completion, OptionDeclaration } from '../declaration/types.js'
import { type CompletionEntry, completionEntries, valuedOptions } from './words.js'

/** A completion script for zsh, to be sourced or put into a directory of `fpath` as `_nexus-backup`. */
export function zshCompletion(): string {
  const entries = completionEntries()
  const paths = entries.map(entry => entry.path).filter(path => path !== '')
  const valued = valuedOptions(entries).map(({ name }) => `--${name}`)
  return `#compdef nexus-backup
_nexus_backup_sources() {
  local -a names=(\${(f)"$(_call_program sources \${words[1]} completion sources $config 2>/dev/null)"})
  compadd -X source -a names
}
_nexus-backup() {
  # Not "path": that is the array behind PATH.
  local at place='' context state state_descr line
  local -a config=()
  typeset -A opt_args
  for ((at = 2; at < CURRENT; at++)); do
    case \${words[at]} in
      ${valued.join('|')})
        [[ \${words[at]} == --config ]] && config=(--config \${words[at+1]})
        at=$((at + 1));;
      -*) ;;
      *) case "\${place:+$place }\${words[at]}" in
        ${paths.map(path => quote(path)).join('|')}) place="\${place:+$place }\${words[at]}";;
      esac;;
    esac
  done
  case $place in
${entries.map(renderEntry).join('\n')}
  esac
}
if [[ $funcstack[1] == _nexus-backup ]]; then
  _nexus-backup "$@"
else
  compdef _nexus-backup nexus-backup
fi
`
}

function renderEntry({ path, words, options, operand }: CompletionEntry): string {
  const choices = words.map(({ word, description }) => quote(`${word}:${description.replaceAll(':', '\\:')}`))
  const rest = choices.length === 0 ? `'*: :${actionFor(operand)}'` : `'*: :->words'`
  const describe =
    choices.length === 0
      ? ''
      : `\n      [[ $state == words ]] && { local -a choices=(${choices.join(' ')}); _describe word choices; }`
  return `    ${quote(path)})
      _arguments -S ${options.map(renderOption).join(' ')} ${rest}${describe};;`
}

function renderOption({
  name,
  value,
  description,
  choices,
  suggestions,
  complete,
  repeatable,
}: OptionDeclaration): string {
  const text = description.replaceAll('[', '(').replaceAll(']', ')').replaceAll(':', ' -')
  const flag = `${repeatable === true ? '*' : ''}--${name}[${text}]`
  if (value === undefined) return quote(flag)
  const words = choices ?? suggestions
  return quote(`${flag}:${value}:${words === undefined ? actionFor(complete) : `(${words.join(' ')})`}`)
}

function actionFor(complete: Completion | undefined): string {
  if (complete === 'file') return '_files'
  if (complete === 'directory') return '_files -/'
  return complete === 'source' ? '_nexus_backup_sources' : ' '
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
