import { exitsWith } from './exits.js'
import { tablespaceMap, waldir } from './tablespaces.js'
import type { CommandDeclaration } from './types.js'

export const restoreCommand: CommandDeclaration = {
  name: 'restore',
  summary: 'bring a backup back',
  description: [
    'Restore a backup beside the live data, or in place of it. What is restored is staged and proven before anything is replaced, and what it replaces is kept.',
    'A SQLite database is a file; a PostgreSQL cluster and a source of kind files are directories. A cluster comes back as it was at the end of its backup; to replay the log after it, see nexus-backup-pitr(1).',
    'In an encrypted repository only backups that are ours count: those signed by a host that the keys vouch for. A source means its latest that is ours. Any other is restored only by its whole id with --untrusted; nexus-backup-repository(5) says whose a backup is.',
    'On a terminal, plain `nexus-backup restore` asks which backup and where to.',
  ],
  usage: [
    'nexus-backup restore BACKUP|SOURCE --to PATH [--force] [--no-owner] [--tablespace-map OLD=NEW]...',
    'nexus-backup restore BACKUP|SOURCE --include PATTERN... [--exclude PATTERN]... --to DIR',
    'nexus-backup restore BACKUP|SOURCE [--include PATTERN]... --merge [--overwrite RULE] --to DIR',
    'nexus-backup restore BACKUP|SOURCE [--include PATH] --to -',
    'nexus-backup restore ID --untrusted --to PATH',
    'nexus-backup restore BACKUP|SOURCE --in-place [--confirm SOURCE]',
    'nexus-backup restore SOURCE --rollback [--confirm SOURCE]',
    'nexus-backup restore SOURCE --rollback --to PATH',
  ],
  group: 'main',
  arguments: [
    {
      name: 'BACKUP|SOURCE',
      required: false,
      variadic: false,
      description: 'An id, the beginning of one, or a source for its latest',
      complete: 'source',
    },
  ],
  options: [
    {
      name: 'to',
      value: 'PATH',
      description: 'Restore to this path; - writes one file or a database to standard output',
      complete: 'file',
    },
    {
      name: 'include',
      value: 'PATTERN',
      description: 'Of files: restore only what matches, a directory with all that it holds; may be repeated',
      repeatable: true,
    },
    {
      name: 'exclude',
      value: 'PATTERN',
      description: 'Of files: leave out what matches, a directory with all that it holds; may be repeated',
      repeatable: true,
    },
    {
      name: 'merge',
      description: 'Of files: put them into the directory that --to names, beside what is there; nothing is removed',
    },
    {
      name: 'overwrite',
      value: 'RULE',
      choices: ['always', 'if-changed', 'if-newer', 'never'],
      default: 'if-changed',
      description: 'With --merge: which files that are there are replaced, and kept under another name',
    },
    { name: 'force', description: 'With --to: replace what is there, and keep it under another name' },
    {
      name: 'untrusted',
      description:
        'Restore a backup that is not ours, such as one signed by a host that nobody vouched for, by its whole id',
    },
    { name: 'in-place', description: 'Restore over the live data, which --sqlite or the configuration names' },
    {
      name: 'confirm',
      value: 'SOURCE',
      description: 'Confirm --in-place or --rollback by the name of the source',
      complete: 'source',
    },
    {
      name: 'rollback',
      description:
        'Undo the last restore in place, or with --to the last one to that path: bring back what it replaced',
    },
    {
      name: 'allow-damaged',
      description: 'With --in-place: put content in place that fails its checks, as it was captured; ends with 4',
    },
    {
      name: 'allow-other-names',
      description: 'Replace a database whose file is mounted by itself or has hard links; see below',
    },
    {
      name: 'no-owner',
      description:
        'Of directories and files: give everything to the user who restores, and not to the owners as captured',
    },
    tablespaceMap,
    waldir,
  ],
  examples: [
    { does: 'Ask what and where to', command: 'nexus-backup restore' },
    { does: 'The latest backup, beside the live database', command: 'nexus-backup restore itsm --to /tmp/itsm.db' },
    {
      does: 'The latest backup, over the live database',
      command: 'nexus-backup restore itsm --in-place --confirm itsm',
    },
    { does: 'Uploads and logs, to look into', command: 'nexus-backup restore uploads --to /tmp/uploads' },
    {
      does: 'The PDF files of one directory, beside the live data',
      command: "nexus-backup restore uploads --include '/srv/uploads/ticket-4711/**/*.pdf' --to /tmp/ticket",
    },
    {
      does: 'One file as it was, into a pipe',
      command: 'nexus-backup restore uploads --include /srv/uploads/prices.csv --to - | diff - /srv/uploads/prices.csv',
    },
    {
      does: 'A directory back into the live tree, but for what is newer there',
      command: 'nexus-backup restore uploads --include /srv/uploads/ticket-4711 --merge --overwrite if-newer --to /',
    },
    { does: 'Take that back', command: 'nexus-backup restore itsm --rollback --confirm itsm' },
    {
      does: 'Take back what --to PATH --force replaced',
      command: 'nexus-backup restore itsm --rollback --to /tmp/itsm.db',
    },
    {
      does: 'On a bare machine, with only the repository',
      command: 'nexus-backup restore itsm --repo /mnt/backups/nexus --to /opt/itsm/data/itsm_nexus.db',
    },
  ],
  exits: exitsWith({
    0: 'restored and proven',
    1: 'failed; the live data is as it was',
    3: 'restored, but a check could not be run, or some entries are missing or not as they were',
    4: 'the backup is damaged, is not what was signed, or the latest is gone, and the live data is as it was; or what is restored fails its checks as it did when it was captured',
    5: 'no such backup or source, nothing in it that --include names, or nothing to roll back to',
    8: 'refused for safety: the backup is not ours, not confirmed, the target exists, or somebody uses the data',
  }),
}
