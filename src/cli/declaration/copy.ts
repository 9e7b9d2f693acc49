import { exitsWith } from './exits.js'
import { takeOver } from './take-over.js'
import type { CommandDeclaration } from './types.js'

export const copyCommand: CommandDeclaration = {
  name: 'copy',
  summary: 'bring another repository up to date',
  description: [
    'Copy the backups that another repository lacks, and the log of a cluster, as they are stored and compared with their digests on the way. Without --to, every copy that the configuration names is brought up to date; create does the same for its sources.',
    'Nothing is ever removed there because it is gone here: each repository has its own retention, and what it retired does not come back.',
  ],
  group: 'further',
  arguments: [
    {
      name: 'SOURCE',
      required: false,
      variadic: true,
      description: 'Sources to copy; all of them when none is named',
    },
  ],
  options: [
    {
      name: 'to',
      value: 'REPO',
      description: 'Copy to this repository: a name of the configuration, a directory, or s3://BUCKET/PREFIX',
      complete: 'directory',
    },
    {
      name: 'from',
      value: 'REPO',
      description: 'Copy from this repository instead of the one that the source is backed up to',
      complete: 'directory',
    },
    { name: 'init', description: 'Make the repository that is copied to when it does not exist' },
    takeOver,
  ],
  examples: [
    { does: 'What the last runs could not copy, as cron does it', command: 'nexus-backup copy' },
    {
      does: 'Everything to a disk that is taken home',
      command: 'nexus-backup copy --repo /var/backups/nexus --to /mnt/usb/nexus --init',
    },
    {
      does: 'After the loss of the disk: the history comes back before the next backup',
      command: 'nexus-backup copy itsm --from offsite --to local --init',
    },
  ],
  exits: exitsWith({
    0: 'everything that can be restored is there',
    3: 'some sources or some backups were not copied, or the copies are not vouched for; run it again when the cause is mended',
    4: 'a stored backup differs from its digests and was not copied',
    8: 'refused: the other repository holds backups of somebody else, or of another history',
  }),
}
