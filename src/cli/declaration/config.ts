import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

const exits = exitsWith({ 0: 'the configuration is valid' }, [3, 4, 5, 6, 8])

const checkExits = exitsWith(
  { 0: 'the configuration is valid', 3: 'it is valid, and a server is not ready for what it says' },
  [4, 5, 6, 8],
)

const check: CommandDeclaration = {
  name: 'config check',
  summary: 'say whether the configuration is valid',
  description: [
    'Read the configuration and report every mistake at once, each with its line.',
    'The servers of PostgreSQL clusters are asked too, where they can be reached: their version, what the role may do, connections for replication, and with keep.pitr whether they archive. Nothing is written.',
  ],
  group: 'further',
  arguments: [],
  options: [],
  examples: [
    { does: 'Check the file before it is put in place', command: 'nexus-backup config check --config ./config.yaml' },
  ],
  exits: checkExits,
}

const show: CommandDeclaration = {
  name: 'config show',
  summary: 'print the settings in effect',
  description: ['Print the settings that a run would use, every default filled in.'],
  group: 'further',
  arguments: [],
  options: [],
  examples: [{ does: 'Where the state of this user lies', command: 'nexus-backup config show --json | jq -r .state' }],
  exits,
}

export const configCommand: CommandDeclaration = {
  name: 'config',
  summary: 'check or show the configuration',
  description: ['Check the configuration, or show the settings in effect.'],
  group: 'further',
  arguments: [],
  options: [],
  examples: [...check.examples, ...show.examples],
  exits,
  subcommands: [check, show],
}
