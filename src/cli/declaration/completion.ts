import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const completionCommand: CommandDeclaration = {
  name: 'completion',
  summary: 'print a completion script for a shell',
  description: [
    'Print a script that teaches a shell the commands, the options and the names of the configured sources.',
    'With `sources` print those names, one a line: that is what the scripts ask for.',
  ],
  group: 'further',
  arguments: [
    {
      name: 'SHELL',
      required: true,
      variadic: false,
      description: 'The shell',
      choices: ['bash', 'zsh', 'fish', 'sources'],
    },
  ],
  options: [],
  examples: [
    { does: 'For this bash', command: 'source <(nexus-backup completion bash)' },
    {
      does: 'For every bash of this machine',
      command: 'nexus-backup completion bash > /usr/share/bash-completion/completions/nexus-backup',
    },
    {
      does: 'For every zsh',
      command: 'nexus-backup completion zsh > /usr/share/zsh/vendor-completions/_nexus-backup',
    },
    {
      does: 'For every fish',
      command: 'nexus-backup completion fish > /usr/share/fish/vendor_completions.d/nexus-backup.fish',
    },
  ],
  exits: exitsWith({ 0: 'printed' }, [3, 4, 5, 6, 7, 8]),
}
