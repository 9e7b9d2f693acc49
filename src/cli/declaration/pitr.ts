import { exitsWith } from './exits.js'
import { pitrCheck } from './pitr-check.js'
import { pitrRestore } from './pitr-restore.js'
import { pitrArchive, pitrFetch } from './pitr-wal.js'
import type { ArgumentDeclaration, CommandDeclaration } from './types.js'

const source: ArgumentDeclaration = {
  name: 'SOURCE',
  required: true,
  variadic: false,
  description: 'The source',
  complete: 'source',
}

const points: CommandDeclaration = {
  name: 'pitr points',
  summary: 'show the times a source can be brought back to',
  description: [
    'List the instants to which a source can be brought back. For SQLite and files these are the captures.',
    'Of a PostgreSQL cluster also the windows: ranges in which every instant can be restored, each from the end of a backup to the last commit in the log archived without a gap after it.',
    "A window ends where the server ran with wal_level=minimal and at a damaged segment: the next one begins with a later backup. Times that came twice because the server's clock was set back are in no window. Both are said, and are in 'breaks' with --json.",
    'The first call reads the whole archived log of the windows. What it says is kept in the state directory (wal-index), so that later calls read only what is new.',
  ],
  group: 'main',
  arguments: [source],
  options: [],
  examples: [
    { does: 'The times there are', command: 'nexus-backup pitr points itsm' },
    {
      does: 'The last instant a cluster can be brought back to, for monitoring',
      command: "nexus-backup pitr points consulting --json | jq -r '.windows[-1].to'",
    },
  ],
  exits: exitsWith({ 5: 'no such source, or it has no backup' }, [3, 6]),
}

export const pitrCommand: CommandDeclaration = {
  name: 'pitr',
  summary: 'bring a source back to a point in time',
  description: ['Show the points in time a source can be brought back to, and bring it back to one.'],
  group: 'main',
  arguments: [],
  options: [],
  examples: [...points.examples, ...pitrRestore.examples, ...pitrCheck.examples],
  exits: exitsWith({ 5: 'no such source, or no state at or before that time' }, [3]),
  subcommands: [points, pitrRestore, pitrCheck, pitrArchive, pitrFetch],
}
