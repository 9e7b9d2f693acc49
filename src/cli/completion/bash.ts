import { completionEntries } from './words.js'

/** A completion script for bash, which needs nothing but bash itself. */
export function bashCompletion(): string {
  const entries = completionEntries()
  const options = [...new Map(entries.flatMap(entry => entry.options).map(option => [option.name, option])).values()]
  const valued = options.filter(option => option.value !== undefined)
  const pattern = (names: readonly { name: string }[]) => names.map(({ name }) => `--${name}`).join('|')
  const files = valued.filter(option => option.complete === 'file')
  const directories = valued.filter(option => option.complete === 'directory')
  const others = valued.filter(
    ({ choices: words, suggestions, complete }) =>
      (words ?? suggestions) === undefined && (complete ?? 'none') === 'none',
  )
  const choices = valued.flatMap(({ name, choices: closed, suggestions: words = closed }) =>
    words === undefined
      ? []
      : [`    --${name}) COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$current")); return;;`],
  )
  const paths = entries.map(entry => entry.path).filter(path => path !== '')
  const words = entries.map(
    entry =>
      `    '${entry.path}') words='${entry.words.map(({ word }) => word).join(' ')}' options='${entry.options.map(({ name }) => `--${name}`).join(' ')}';;`,
  )
  return `# bash completion for nexus-backup
_nexus_backup() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' at words options
  COMPREPLY=()
  case $previous in
${choices.join('\n')}
    ${pattern(files)}) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return;;
    ${pattern(directories)}) COMPREPLY=($(compgen -d -- "$current")); compopt -o filenames 2>/dev/null; return;;
    ${pattern(others)}) return;;
  esac
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in
      ${pattern(valued)}) at=$((at + 1));;
      -*) ;;
      *) case "\${path:+$path }\${COMP_WORDS[at]}" in
        ${paths.map(path => `'${path}'`).join('|')}) path="\${path:+$path }\${COMP_WORDS[at]}";;
      esac;;
    esac
  done
  case $path in
${words.join('\n')}
  esac
  if [[ $current == -* || -z $words ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -F _nexus_backup nexus-backup
`
}
