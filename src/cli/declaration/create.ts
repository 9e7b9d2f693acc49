import { exitsWith } from './exits.js'
import { takeOver } from './take-over.js'
import type { CommandDeclaration } from './types.js'

export const createCommand: CommandDeclaration = {
  name: 'create',
  summary: 'take a backup',
  description: [
    'Take a backup of the sources named, or of every source in the configuration.',
    'A SQLite database is read as it is at one instant, beside its writers, and is not changed in any way. A PostgreSQL cluster is streamed by pg_basebackup, its log archived by `pitr archive`. Files are read one after another; what changes meanwhile is named and ends the run with 3.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'SOURCE',
      required: false,
      variadic: true,
      description: 'Sources to back up; all of them when none is named',
      complete: 'source',
    },
  ],
  options: [
    {
      name: 'type',
      value: 'TYPE',
      description: 'full: every block; diff: changes since the last full; incr: changes since the last backup',
      choices: ['auto', 'full', 'diff', 'incr'],
      default: 'auto',
    },
    {
      name: 'check',
      value: 'LEVEL',
      description:
        'How a database itself is checked; by default as configured, else integrity for a full, quick for one of which all is read',
      choices: ['integrity', 'quick', 'none'],
    },
    { name: 'verify', description: 'Read back what was written and compare; not from an archive class' },
    { name: 'allow-damaged', description: 'Back up a source that fails its check; marks the backup and ends with 4' },
    {
      name: 'allow-emptied',
      description: 'Back up directories although all files of a file system are gone since the last complete backup',
    },
    {
      name: 'allow-other-names',
      description: 'Back up a database whose file is mounted by itself or has hard links; see below',
    },
    { name: 'init', description: 'Make the repository when the directory holds none' },
    {
      name: 'owner',
      value: 'USER',
      description: 'With --init: who owns the repository, and the state directory when it is made, USER or USER:GROUP',
    },
    { name: 'adopt', description: 'Take over a name that another host, path or cluster claimed; starts with a full' },
    takeOver,
    { name: 'label', value: 'TEXT', description: 'A note kept with the backup' },
    {
      name: 'keep-until',
      value: 'DATE',
      description: 'Never prune it before this date (its last day included) or time, or forever',
      kind: 'date',
    },
  ],
  examples: [
    { does: 'Back up everything in the configuration', command: 'nexus-backup create' },
    {
      does: 'Back up one database without a configuration, into a new repository',
      command: 'nexus-backup create --sqlite /opt/itsm/data/itsm_nexus.db --repo /var/backups/nexus --init',
    },
    {
      does: 'Before a risky change: a full one, read back and kept for good',
      command: 'nexus-backup create itsm --type full --verify --label "before 4.2" --keep-until forever',
    },
    {
      does: 'From a crontab, every hour; silent when all is well',
      command: '0 * * * * root nexus-backup create --wait 600',
    },
  ],
  exits: exitsWith({
    0: 'every source has a new backup',
    1: 'no source could be backed up, for different reasons',
    3: 'some sources have a new backup and others failed, files changed while they were read, a hook after a source failed, or nobody has vouched for the key of this host',
    4: 'a source is damaged; with --allow-damaged its backup was made all the same',
    5: 'no such source, or its data is missing',
    8: 'refused for safety: no repository there, a name claimed by another, data of another user, a disk that is not mounted',
  }),
}
