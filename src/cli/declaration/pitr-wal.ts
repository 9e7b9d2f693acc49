import { exitsWith } from './exits.js'
import type { CommandDeclaration, OptionDeclaration } from './types.js'

const source: OptionDeclaration = {
  name: 'source',
  value: 'NAME',
  description: "The source; without it the one that the data directory's system identifier belongs to",
  complete: 'source',
}

export const pitrArchive: CommandDeclaration = {
  name: 'pitr archive',
  summary: 'archive a segment of the log of a PostgreSQL server (archive_command)',
  description: [
    'PostgreSQL calls this, in its data directory, for each file of the log that is finished. It ends with 0 only when the file is stored durably. An identical file that is there already is a success, a different one a failure: nothing is ever overwritten.',
    'A segment of another system or another version of PostgreSQL, or one that is cut short, is refused. The first file archived into a source claims it for its system.',
    'One call archives every other file that is ready as well and leaves a note for each in pg_wal/.nexus-backup, so that the calls for those return at once.',
    "It takes no lock, keeps no journal and needs only a configuration that the server's user can read; where the repository is encrypted, the state directory too, which holds the key that signs what is archived. A failure stands in the server's log and in pg_stat_archiver; no status is above 125, which would end the archiver.",
  ],
  group: 'main',
  arguments: [
    {
      name: 'PATH',
      required: true,
      variadic: false,
      description: 'The file, as PostgreSQL gives it with %p',
      complete: 'file',
    },
  ],
  options: [source],
  examples: [
    {
      does: 'In postgresql.conf',
      command: "archive_command = 'nexus-backup pitr archive %p || exit 1'",
    },
  ],
  exits: exitsWith(
    {
      0: 'stored durably, or the very same file was stored already',
      4: 'what is stored under this name is damaged',
      5: 'there is no such repository',
      8: 'refused: another system, another version, not a whole segment, another content under this name, an encrypted repository whose keys are missing, or no key here to sign with',
    },
    [3, 6, 129, 130, 143],
  ),
}

export const pitrFetch: CommandDeclaration = {
  name: 'pitr fetch',
  summary: 'fetch a segment of the log for a PostgreSQL server (restore_command)',
  description: [
    'PostgreSQL calls this, in its data directory, during recovery. The file is compared with every digest and put in its place whole or not at all.',
    "A status from 1 to 125 tells PostgreSQL that the log ends here, so only 5, not in the archive, is among them. Everything else, mistakes in the command line and the configuration too, is 126 or above and stops recovery. Node itself ends with 1 or 9 when it cannot start: write the command with the shell's help as the example does.",
    'For a server that recovers (PATH is pg_wal/RECOVERYXLOG) the next segments are taken out of the archive at the same time and wait outside the data directory, in a directory of that user below TMPDIR or /var/tmp, until they are asked for. For pg_rewind and anybody else nothing but the file asked for is touched.',
    'The source is found by the system identifier of the data directory that PATH lies in, else of the working directory.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'FILE',
      required: true,
      variadic: false,
      description: 'The name of the file, as PostgreSQL gives it with %f',
    },
    {
      name: 'PATH',
      required: true,
      variadic: false,
      description: 'Where to put it, as PostgreSQL gives it with %p',
      complete: 'file',
    },
  ],
  options: [
    source,
    {
      name: 'untrusted',
      description:
        'Take a file that is not ours too, such as one signed by a host that nobody vouched for, and warn of it; a restore with --untrusted writes it into the restore_command',
    },
  ],
  examples: [
    {
      does: 'In postgresql.conf',
      command: "restore_command = 'nexus-backup pitr fetch %f %p; r=$?; case $r in 0|5) exit $r;; *) exit 126;; esac'",
    },
  ],
  exits: [
    { status: 0, means: 'fetched, every digest compared' },
    { status: 5, means: 'not in the archive' },
    {
      status: 126,
      means:
        'anything else: damage, a file that is not ours, an archive that cannot be read, the command line, the configuration',
    },
  ],
}
