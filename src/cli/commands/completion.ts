import { bashCompletion } from '../completion/bash.js'
import { fishCompletion } from '../completion/fish.js'
import { zshCompletion } from '../completion/zsh.js'
import type { Handler } from '../invocation.js'

/** `completion bash|zsh|fish` */
export const runCompletion: Handler = async invocation => {
  const shell = invocation.operands[0] ?? ''
  const script = shell === 'bash' ? bashCompletion() : shell === 'zsh' ? zshCompletion() : fishCompletion()
  return { document: { command: 'completion', shell, script }, text: () => script, always: true, failures: [] }
}
