import type { OptionDeclaration } from '../declaration/types.js'
import { type CompletionEntry, completionEntries } from './words.js'

/** A completion script for zsh, to be sourced or put into a directory of `fpath` as `_nexus-backup`. */
export function zshCompletion(): string {
  const entries = completionEntries()
  const paths = entries.map(entry => entry.path).filter(path => path !== '')
  const valued = [
    ...new Set(
      entries
        .flatMap(entry => entry.options)
        .filter(option => option.value !== undefined)
        .map(option => `--${option.name}`),
    ),
  ]
  return `#compdef nexus-backup
_nexus-backup() {
  local path='' at
  for ((at = 2; at < CURRENT; at++)); do
    case \${words[at]} in
      ${valued.join('|')}) at=$((at + 1));;
      -*) ;;
      *) case "\${path:+$path }\${words[at]}" in
        ${paths.map(path => quote(path)).join('|')}) path="\${path:+$path }\${words[at]}";;
      esac;;
    esac
  done
  case $path in
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

function renderEntry(entry: CompletionEntry): string {
  const words = entry.words.map(({ word, description }) => `${word}:${description.replaceAll(':', '\\:')}`)
  const depth = entry.path === '' ? 0 : entry.path.split(' ').length
  const operands = words.length === 0 ? "'*: :_default'" : `'*: :->words'`
  const describe =
    words.length === 0
      ? ''
      : `\n      [[ $state == words ]] && { local -a choices=(${words.map(quote).join(' ')}); _describe word choices; }`
  return `    ${quote(entry.path)})
      local state; local -a line
      # ${depth} words of the command stand already
      _arguments -S ${entry.options.map(renderOption).join(' ')} ${operands}${describe};;`
}

function renderOption({ name, value, description, choices, suggestions, complete }: OptionDeclaration): string {
  const text = description.replaceAll('[', '(').replaceAll(']', ')').replaceAll(':', ' -')
  if (value === undefined) return quote(`--${name}[${text}]`)
  const words = choices ?? suggestions
  const action =
    words !== undefined
      ? `(${words.join(' ')})`
      : complete === 'file'
        ? '_files'
        : complete === 'directory'
          ? '_files -/'
          : ' '
  return quote(`--${name}[${text}]:${value}:${action}`)
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
