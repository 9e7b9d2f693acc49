import { exitsWith } from './exits.js'
import type { ArgumentDeclaration, CommandDeclaration } from './types.js'

const source: ArgumentDeclaration = { name: 'SOURCE', required: true, variadic: false, description: 'The source' }

const points: CommandDeclaration = {
  name: 'pitr points',
  summary: 'show the times a source can be brought back to',
  description: ['List the instants to which a source can be brought back. For SQLite these are the captures.'],
  group: 'main',
  arguments: [source],
  options: [],
  examples: [{ does: 'The times there are', command: 'nexus-backup pitr points itsm' }],
  exits: exitsWith({ 5: 'no such source, or it has no backup' }, [3, 6]),
}

const restore: CommandDeclaration = {
  name: 'pitr restore',
  summary: 'restore a source as it was at a time',
  description: [
    'Restore the newest state that is not after the time asked, and say how far before it that lies.',
    'A time without a zone is read in the configured timezone.',
  ],
  usage: ['nexus-backup pitr restore SOURCE --at TIME --to PATH'],
  group: 'main',
  arguments: [source],
  options: [
    {
      name: 'at',
      value: 'TIME',
      description: 'The time, such as 2025-11-03T02:59:00Z or "2025-11-03 11:59" in the configured zone',
      kind: 'time',
    },
    { name: 'to', value: 'PATH', description: 'Restore to this path', complete: 'file' },
  ],
  examples: [
    {
      does: 'The database as it was before the mistake',
      command: 'nexus-backup pitr restore itsm --at 2025-11-03T02:59:00Z --to /tmp/itsm-before.db',
    },
  ],
  exits: exitsWith({ 0: 'restored and proven', 5: 'no such source, or no state at or before that time' }, [3]),
}

export const pitrCommand: CommandDeclaration = {
  name: 'pitr',
  summary: 'bring a source back to a point in time',
  description: ['Show the points in time a source can be brought back to, and bring it back to one.'],
  group: 'main',
  arguments: [],
  options: [],
  examples: [...points.examples, ...restore.examples],
  exits: exitsWith({ 5: 'no such source, or no state at or before that time' }, [3]),
  subcommands: [points, restore],
}
