import { bashCompletion } from '../completion/bash.js'
import { fishCompletion } from '../completion/fish.js'
import { zshCompletion } from '../completion/zsh.js'
import type { Handler } from '../invocation.js'

const scripts = new Map([
  ['bash', bashCompletion],
  ['zsh', zshCompletion],
  ['fish', fishCompletion],
])

/** `completion bash|zsh|fish|sources` */
export const runCompletion: Handler = async invocation => {
  const shell = invocation.operands[0] ?? ''
  const script = scripts.get(shell)?.()
  if (script !== undefined) {
    return { document: { command: 'completion', shell, script }, text: () => script, always: true, failures: [] }
  }
  const names = (await invocation.settings()).sources.map(({ name }) => name)
  const text = () => names.map(name => `${name}\n`).join('')
  return { document: { command: 'completion', sources: names }, text, always: true, failures: [] }
}
