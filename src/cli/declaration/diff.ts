import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const diffCommand: CommandDeclaration = {
  name: 'diff',
  summary: 'show what differs between two backups',
  description: [
    'Compare two backups of a source: what was added, removed and changed, and how much. Of files and clusters each entry is named; of a SQLite database its changed pages are counted.',
    'Only lists of entries and digests of blocks are read. Backups of one chain are compared block by block. The digests of different chains cannot be compared: then a file of the same size and time counts as the same, and databases are refused.',
  ],
  group: 'further',
  arguments: [
    {
      name: 'BEFORE',
      required: true,
      variadic: false,
      description: 'The earlier backup: an id, the beginning of one, or a source for its latest',
      complete: 'source',
    },
    {
      name: 'AFTER',
      required: true,
      variadic: false,
      description: 'The later one',
      complete: 'source',
    },
    {
      name: 'PATTERN',
      required: false,
      variadic: false,
      description: 'Only entries that match, a directory with all that it holds',
      complete: 'none',
    },
  ],
  options: [],
  examples: [
    { does: 'What has changed since a backup', command: 'nexus-backup diff 20251103T030000.123Z-full-7f3a uploads' },
    {
      does: 'Of one directory',
      command: 'nexus-backup diff 20251103T030000.123Z-full-7f3a uploads /srv/uploads/ticket-4711',
    },
    {
      does: 'Whether anything has changed',
      command: 'nexus-backup diff 20251103T030000.123Z-full-7f3a uploads --json | jq .identical',
    },
  ],
  exits: exitsWith({
    0: 'compared, whether they differ or not',
    1: 'failed, also where two databases cannot be compared',
    4: 'a backup is damaged or is not what was signed',
    5: 'no such backup, or nothing in either that matches',
    8: 'refused for safety: a backup is not ours',
  }),
}
