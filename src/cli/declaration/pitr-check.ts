import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const pitrCheck: CommandDeclaration = {
  name: 'pitr check',
  summary: 'prove that WAL reaches the repository and comes back',
  description: [
    'Of each PostgreSQL cluster named, or of all: look at archive_mode, archive_command and what the archiver did last, end the current segment of WAL, wait until it is in the repository, and fetch it as the user of the server, as a recovery would.',
    'The role needs pg_monitor and EXECUTE on pg_switch_wal(). A standby is asked and not changed: run this on its primary. With --dry-run the server is only asked.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'SOURCE',
      required: false,
      variadic: true,
      description: 'Clusters to check; all of them when none is named',
      complete: 'source',
    },
  ],
  options: [
    {
      name: 'timeout',
      value: 'SECONDS',
      description: 'Wait this long for the segment to arrive',
      kind: 'seconds',
      default: '60',
    },
  ],
  examples: [
    { does: 'After archiving was set up', command: 'nexus-backup pitr check consulting' },
    { does: 'From a crontab, every hour; silent when all is well', command: '30 * * * * root nexus-backup pitr check' },
  ],
  exits: exitsWith(
    {
      0: 'WAL of every cluster is archived and can be fetched',
      1: 'archiving is off, fails or is too slow; the message says which',
      3: 'some clusters are well and others are not',
      5: 'no such source',
      8: 'the segment is stored and the user of the server cannot fetch it',
    },
    [6],
  ),
}
