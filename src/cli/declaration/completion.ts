import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const completionCommand: CommandDeclaration = {
  name: 'completion',
  summary: 'print a completion script for a shell',
  description: ['Print a script that teaches a shell the commands and options.'],
  group: 'further',
  arguments: [
    { name: 'SHELL', required: true, variadic: false, description: 'The shell', choices: ['bash', 'zsh', 'fish'] },
  ],
  options: [],
  examples: [
    { does: 'For this bash', command: 'source <(nexus-backup completion bash)' },
    {
      does: 'For every bash of this machine',
      command: 'nexus-backup completion bash > /usr/share/bash-completion/completions/nexus-backup',
    },
  ],
  exits: exitsWith({ 0: 'printed' }, [3, 4, 5, 6, 7, 8]),
}
