import { exitsWith } from './exits.js'
import { takeOver } from './take-over.js'
import type { CommandDeclaration, OptionDeclaration } from './types.js'

function keepOption(unit: string, what: string): OptionDeclaration {
  return { name: `keep-${unit}`, value: 'N', description: what, kind: 'count' }
}

export const pruneCommand: CommandDeclaration = {
  name: 'prune',
  summary: 'retire old backups by policy',
  description: [
    'Remove the backups that no rule of the policy keeps. A backup is kept when any rule wants it, or when a kept one depends on it; the last proven backup is always kept.',
    'Rules on the command line replace the policy in the configuration. An empty policy is refused.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'SOURCE',
      required: false,
      variadic: true,
      description: 'Sources to prune; all of them when none is named',
      complete: 'source',
    },
  ],
  options: [
    keepOption('last', 'Keep the newest N'),
    keepOption('hourly', 'Keep the newest of each of the last N hours that have one'),
    keepOption('daily', 'Keep the newest of each of the last N days that have one'),
    keepOption('weekly', 'Keep the newest of each of the last N weeks that have one'),
    keepOption('monthly', 'Keep the newest of each of the last N months that have one'),
    keepOption('yearly', 'Keep the newest of each of the last N years that have one'),
    {
      name: 'keep-within',
      value: 'DURATION',
      description: 'Keep all of the last DURATION, such as 12h, 30d or 8w',
      kind: 'duration',
    },
    {
      name: 'keep-pitr',
      value: 'DURATION',
      description:
        'Of a PostgreSQL cluster keep every instant of the last DURATION, such as 14d: the backup before it and all log since',
      kind: 'duration',
    },
    takeOver,
  ],
  examples: [
    { does: 'See what the configured policy would remove, and why', command: 'nexus-backup prune --dry-run' },
    { does: 'Carry it out', command: 'nexus-backup prune' },
    {
      does: 'One database without a configuration',
      command: 'nexus-backup prune itsm_nexus --repo /var/backups/nexus --keep-daily 30 --keep-monthly 12',
    },
    {
      does: 'A cluster: every instant of two weeks, a backup of each month',
      command: 'nexus-backup prune consulting --keep-pitr 14d --keep-monthly 36',
    },
  ],
  exits: exitsWith(
    {
      4: 'pruned, but a damaged backup, or one that is not what was signed, was seen and left alone',
      5: 'no such source',
    },
    [],
  ),
}
