import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const listCommand: CommandDeclaration = {
  name: 'list',
  summary: 'show the backups there are',
  description: [
    'List the backups in the repositories, oldest first. Damaged ones are always named. So are those that are not ours, in an encrypted repository: nobody vouches for the host that signed them, they are not what was signed, or they are not encrypted.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'BACKUP|SOURCE',
      required: false,
      variadic: false,
      description: 'Only the backups of this source; with --files, whose files are listed',
      complete: 'source',
    },
  ],
  usage: [
    'nexus-backup list [SOURCE] [--all | --journal]',
    'nexus-backup list BACKUP|SOURCE --files',
    'nexus-backup list BACKUP --files PATTERN',
    'nexus-backup list [SOURCE] --files PATTERN',
  ],
  options: [
    { name: 'all', description: 'Show the leftovers of unfinished runs too' },
    { name: 'journal', description: 'Show who did what and when instead, and whether the journal is whole' },
    {
      name: 'files',
      value: 'PATTERN',
      optionalValue: true,
      description:
        'Show the files in a backup, or in all backups of a source those that match and in which backups they are',
    },
  ],
  examples: [
    { does: 'Everything there is', command: 'nexus-backup list' },
    { does: 'On a bare machine, with only the repository', command: 'nexus-backup list --repo /mnt/backups/nexus' },
    { does: 'The id of the newest backup', command: "nexus-backup list itsm --json | jq -r '.backups[-1].id'" },
    { does: 'The files in the latest backup', command: 'nexus-backup list uploads --files' },
    {
      does: 'Which backups hold a file, and which versions of it',
      command: "nexus-backup list uploads --files 'prices*.csv'",
    },
    { does: 'What was done to one source', command: 'nexus-backup list itsm --journal' },
  ],
  exits: exitsWith(
    {
      0: 'listed, also when there is nothing to list',
      4: 'a backup is damaged or is not what was signed, or the journal was changed',
      5: 'no such source or backup, or no file that matches',
    },
    [3, 6],
  ),
}
