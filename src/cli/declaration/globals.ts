import type { EnvironmentDeclaration, FileDeclaration, OptionDeclaration } from './types.js'

/** Options of every command, before or after it. */
export const globalOptions: readonly OptionDeclaration[] = [
  {
    name: 'config',
    value: 'FILE',
    place: true,
    description: 'Read this configuration instead of looking in the usual places',
    environment: 'NEXUS_BACKUP_CONFIG',
    complete: 'file',
  },
  {
    name: 'repo',
    value: 'DIR',
    place: true,
    description: 'Use this repository, a directory or s3://BUCKET/PREFIX, whatever the configuration says',
    environment: 'NEXUS_BACKUP_REPO',
    complete: 'directory',
  },
  {
    name: 'state',
    value: 'DIR',
    place: true,
    description: 'Directory of the catalog, the journal and the digest caches',
    environment: 'NEXUS_BACKUP_STATE',
    complete: 'directory',
  },
  {
    name: 'sqlite',
    value: 'FILE',
    place: true,
    description: 'Work on this SQLite database, without a configuration; needs --repo',
    complete: 'file',
  },
  {
    name: 'name',
    value: 'NAME',
    place: true,
    description: 'Name of the source given by --sqlite; the stem of the file when left out',
  },
  {
    name: 'key-file',
    value: 'FILE',
    place: true,
    description: 'Key that opens an encrypted repository, and with create --init makes one',
    environment: 'NEXUS_BACKUP_KEY_FILE',
    complete: 'file',
  },
  {
    name: 'passphrase-file',
    value: 'FILE',
    place: true,
    description: 'The same with the passphrase in this file',
    environment: 'NEXUS_BACKUP_PASSPHRASE_FILE',
    complete: 'file',
  },
  { name: 'json', description: 'Print one JSON document on standard output', environment: 'NEXUS_BACKUP_JSON' },
  { name: 'quiet', description: 'Print no progress and no result, only warnings and errors' },
  { name: 'verbose', description: 'Print results and plans also without a terminal' },
  { name: 'dry-run', description: 'Print what would be done and do nothing' },
  { name: 'yes', description: 'Answer ordinary questions with yes; never replaces --confirm' },
  { name: 'no-color', description: 'Print without colour' },
  {
    name: 'wait',
    value: 'SECONDS',
    description: 'Wait this long for a lock, a restore in place or a backup of another run',
    kind: 'seconds',
    default: '0',
    environment: 'NEXUS_BACKUP_WAIT',
  },
  { name: 'help', description: 'Print help for the command' },
]

/** Environment variables that no option declares. */
export const environment: readonly EnvironmentDeclaration[] = [
  { name: 'NO_COLOR', means: 'When not empty, print without colour' },
  { name: 'FORCE_COLOR', means: 'When not empty and not 0, print in colour also without a terminal' },
  { name: 'TERM', means: 'When dumb, print without colour and without progress' },
  { name: 'XDG_CONFIG_HOME', means: 'Where the configuration of a user lies; ~/.config when unset' },
  { name: 'XDG_STATE_HOME', means: 'Where the state of a user lies; ~/.local/state when unset' },
  { name: 'NEXUS_BACKUP_NODE', means: 'The Node that runs this program; the one along PATH when unset' },
  { name: 'AWS_ACCESS_KEY_ID', means: 'With AWS_SECRET_ACCESS_KEY, the credentials of a repository in a bucket' },
  { name: 'AWS_PROFILE', means: 'The profile in ~/.aws that holds them, where the configuration names none' },
  { name: 'AWS_REGION', means: 'The region of the bucket, where the configuration names none' },
  { name: 'AWS_ENDPOINT_URL_S3', means: 'The server of the bucket, where the configuration names none' },
  { name: 'AWS_ENDPOINT_URL', means: 'The same for all of AWS; AWS_ENDPOINT_URL_S3 wins' },
  { name: 'AWS_CA_BUNDLE', means: 'Certificates of the authorities that vouch for that server' },
  { name: 'CREDENTIALS_DIRECTORY', means: 'Where systemd has put the credentials of a service; set by systemd' },
  { name: 'GNUPGHOME', means: 'Where gpg keeps its keys; ~/.gnupg when unset' },
  { name: 'SUDO_USER', means: 'Recorded in the journal and in manifests beside the user' },
]

export const files: readonly FileDeclaration[] = [
  { path: '/etc/nexus-backup/config.yaml', means: 'The configuration of the machine, looked for first' },
  { path: '$XDG_CONFIG_HOME/nexus-backup/config.yaml', means: 'The configuration of the user, looked for next' },
  {
    path: '/var/lib/nexus-backup',
    means: 'State of runs as root, and of its owner: catalog, journal, digest caches, signing key',
  },
  { path: '$XDG_STATE_HOME/nexus-backup', means: 'State of runs as another user' },
]
