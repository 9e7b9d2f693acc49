import { exitsWith } from './exits.js'
import { tablespaceMap, waldir } from './tablespaces.js'
import type { CommandDeclaration } from './types.js'

export const pitrRestore: CommandDeclaration = {
  name: 'pitr restore',
  summary: 'restore a source as it was at a time',
  description: [
    'Restore a source as it was at a time. Of a PostgreSQL cluster the newest backup before the target is chosen and its log replayed up to the target; a target outside every window is refused. Of a SQLite database the newest state that is not after the time asked is restored, and it is said how far before it that lies.',
    'Exactly one target must be given; SQLite and files take only --at. A time without a zone is read in the configured timezone. Every time that this program or PostgreSQL prints can be given as it was printed.',
    'A time without a fraction means the whole second, and one with three digits the whole millisecond: what happened in it is included. With any other number of digits it is exact to the microsecond.',
    'A cluster is brought to the last commit, in the order of its log, that is not after the time: what other transactions had done without having committed is not replayed. That commit and the next one are named with transaction, position and time.',
    'With --before the target itself is left out: of --xid the transaction, of --at the first one that committed in that time or later, and everything after it. The cluster is brought to the commit before it, and, where the transaction drops a database or a tablespace, to the commit before its files were removed.',
    "A time that came twice because the server's clock was set back is refused with the nearest times around it; so is a target behind a stretch of wal_level=minimal, which no recovery can pass.",
    'A restored cluster does not archive, unless it is told to: a copy must never write into the archive it came from.',
  ],
  usage: [
    'nexus-backup pitr restore SOURCE --at TIME --to PATH',
    'nexus-backup pitr restore SOURCE --to PATH',
    '    (--at TIME | --lsn LSN | --xid XID | --restore-point NAME | --end)',
    '    [--before] [--timeline TIMELINE] [--allow-damaged]',
    '    [--tablespace-map OLD=NEW]...',
    '    [--target-action promote|pause|shutdown] [--keep-archiving]',
    '    [--start [--stop]]',
  ],
  group: 'main',
  arguments: [{ name: 'SOURCE', required: true, variadic: false, description: 'The source', complete: 'source' }],
  options: [
    {
      name: 'at',
      value: 'TIME',
      description: 'The time, such as 2025-11-03T02:59:00Z or "2025-11-03 11:59" in the configured zone',
      kind: 'time',
    },
    { name: 'lsn', value: 'LSN', description: 'A position in the log, such as 0/2000028', kind: 'lsn' },
    { name: 'xid', value: 'XID', description: 'The number of a transaction; it is the last one replayed', kind: 'xid' },
    {
      name: 'before',
      description: 'With --at or --xid: restore what was just before the transaction of that time or number',
    },
    { name: 'restore-point', value: 'NAME', description: 'A name given to pg_create_restore_point()' },
    { name: 'end', description: 'The end of the archive: everything that was archived' },
    {
      name: 'to',
      value: 'PATH',
      description: 'Restore to this path, for a cluster an empty or absent directory',
      complete: 'file',
    },
    {
      name: 'timeline',
      value: 'TIMELINE',
      description: 'Follow this timeline: a number, latest, or current for that of the backup',
      kind: 'timeline',
      suggestions: ['latest', 'current'],
    },
    {
      name: 'allow-damaged',
      description:
        'Where no backup of a sound cluster leads to the target, take one that was made of a damaged cluster (create --allow-damaged)',
    },
    tablespaceMap,
    waldir,
    {
      name: 'target-action',
      value: 'ACTION',
      description:
        'What the server does at the target: promote ends the recovery, pause keeps it open for reading, shutdown stops it there; with --start the content checks run before that',
      choices: ['promote', 'pause', 'shutdown'],
    },
    {
      name: 'keep-archiving',
      description: 'Leave archiving as it was: for a cluster that takes the place of the old one',
    },
    {
      name: 'start',
      description: 'Start the server on a private socket, wait until it is at the target, and run the content checks',
    },
    { name: 'stop', description: 'With --start: stop the server when that is done' },
  ],
  examples: [
    {
      does: 'The cluster as it was before a table was dropped, for a look',
      command:
        'nexus-backup pitr restore consulting --at "2025-11-03 14:30:00+09:00" --to /var/lib/postgresql/before --start',
    },
    {
      does: 'The cluster as it was just before a transaction',
      command: 'nexus-backup pitr restore consulting --xid 48213 --before --to /var/lib/postgresql/before --start',
    },
    {
      does: 'Everything there is, after the data directory was lost',
      command: 'nexus-backup pitr restore consulting --end --to /var/lib/postgresql/15/main --keep-archiving',
    },
    {
      does: 'The state before a migration, by the name that was given to it',
      command: 'nexus-backup pitr restore consulting --restore-point before_4.2 --to /srv/before --target-action pause',
    },
    {
      does: 'The cluster after a page was damaged, from backups made of it since',
      command: 'nexus-backup pitr restore consulting --end --allow-damaged --to /srv/as-it-was',
    },
    {
      does: 'A SQLite database as it was before the mistake',
      command: 'nexus-backup pitr restore itsm --at 2025-11-03T02:59:00Z --to /tmp/itsm-before.db',
    },
  ],
  exits: exitsWith(
    {
      0: 'restored and proven',
      4: 'a backup or a segment is damaged, a content check failed on what was restored, or it was restored from a backup of a damaged cluster',
      5: 'no such source, or the target lies outside every window',
    },
    [3],
  ),
}
