import { exitsWith } from './exits.js'
import type { ArgumentDeclaration, CommandDeclaration } from './types.js'

const create: CommandDeclaration = {
  name: 'keys create',
  summary: 'make a key file',
  description: [
    'Write a new random key to FILE, readable for its owner only. It belongs on another disk than the backups, and a copy of it, on paper too, in a safe: one line of text.',
    'It also prints the SHA-256 of the recover.mjs that this program puts into repositories. Keep it with the key, and compare it before you run that script with the key: whoever can write into the repository can exchange the script.',
  ],
  group: 'further',
  arguments: [
    {
      name: 'FILE',
      required: true,
      variadic: false,
      description: 'The file to make; one that exists is never overwritten',
      complete: 'file',
    },
  ],
  options: [],
  examples: [{ does: 'A key of this machine', command: 'nexus-backup keys create /etc/nexus-backup/key' }],
  exits: exitsWith({ 0: 'the file is written' }, [3, 4, 5, 6, 8]),
}

const recovery: CommandDeclaration = {
  name: 'keys recovery',
  summary: 'put the genuine recover.mjs into a repository',
  description: [
    "Put this program's recover.mjs and RECOVER.txt in the place of those in the repository's root, unless they are of a later version, sign them where the repository is encrypted, and print the SHA-256 of recover.mjs, to be kept with the key. It needs no key, and works for a repository that is not encrypted too.",
    'Every create, keys add and copy does the same. Run it when verify says that these files are not genuine.',
  ],
  group: 'further',
  arguments: [],
  options: [],
  examples: [
    { does: 'After verify has named recover.mjs', command: 'nexus-backup keys recovery --repo /var/backups/nexus' },
  ],
  exits: exitsWith(
    { 0: 'the files are genuine', 5: 'no repository there', 8: 'refused: the store lets nobody replace them' },
    [3, 4, 6],
  ),
}

const list: CommandDeclaration = {
  name: 'keys list',
  summary: 'show who can open a repository',
  description: [
    'Show the recipients of each epoch with their ages, and the hosts whose signatures the repository knows. It needs no key.',
  ],
  group: 'further',
  arguments: [],
  options: [],
  examples: [{ does: 'Who can open the repositories', command: 'nexus-backup keys list' }],
  exits: exitsWith({ 4: 'what is stored of the keys is damaged', 5: 'no repository there' }, [3, 6, 8]),
}

const recipient: ArgumentDeclaration = {
  name: 'RECIPIENT',
  required: true,
  variadic: true,
  description:
    'Who is let in: key-file=FILE, passphrase-file=FILE, passphrase (asked for), gpg=FINGERPRINT, aws-kms=ARN',
}

const add: CommandDeclaration = {
  name: 'keys add',
  summary: 'let somebody in, or make a repository encrypted',
  description: [
    'Wrap the private half of the current epoch for further recipients; no stored backup changes. Somebody who can open the repository must be at hand (--key-file, --passphrase-file or the configuration).',
    'A repository that is not encrypted becomes so for the backups to come, which begin with a full; those it has stay readable for everybody until they are pruned.',
  ],
  group: 'further',
  arguments: [recipient],
  options: [{ name: 'label', value: 'TEXT', description: 'A name for people: where the key lies, whose it is' }],
  examples: [
    {
      does: 'A second key, for the safe',
      command: 'nexus-backup keys add key-file=/media/usb/key --label "safe, second floor"',
    },
    {
      does: 'A GPG key whose private half is elsewhere',
      command: 'nexus-backup keys add gpg=0123456789ABCDEF0123456789ABCDEF01234567',
    },
  ],
  exits: exitsWith(
    {
      0: 'they can open it now',
      4: 'what is stored of the keys is damaged',
      5: 'no repository there',
      6: 'another run changes the keys',
      8: 'refused: no key here opens it, others can read a key file, or all of them are recipients already',
    },
    [3],
  ),
}

const remove: CommandDeclaration = {
  name: 'keys remove',
  summary: 'take somebody out',
  description: [
    "Remove a recipient from every epoch; no stored backup changes. One of those who stay must open the repository from here, and the last one is never removed, neither from the repository's own epochs nor from those that came along with copies of another one's backups.",
    'Whoever has the removed key and a copy of the repository still opens what was made until now. Let `nexus-backup keys rotate` follow.',
  ],
  group: 'further',
  arguments: [{ name: 'ID', required: true, variadic: false, description: 'The recipient, as keys list names it' }],
  options: [{ name: 'force', description: 'Also when nobody who stays can be proven to open it from here' }],
  examples: [{ does: 'After somebody left', command: 'nexus-backup keys remove key-0123456789abcdef' }],
  exits: exitsWith(
    {
      0: 'it is out',
      4: 'what is stored of the keys is damaged',
      5: 'no such recipient',
      6: 'another run changes the keys',
      8: 'refused: the last recipient, or nobody who stays opens it from here',
    },
    [3],
  ),
}

const rotate: CommandDeclaration = {
  name: 'keys rotate',
  summary: 'begin a new epoch',
  description: [
    'Make a new key pair for the backups to come, wrapped for the same recipients. No stored byte of a backup changes, and who opens the new epoch opens the old ones too. A host that holds only public halves follows by itself.',
  ],
  group: 'further',
  arguments: [],
  options: [
    {
      name: 'without',
      value: 'ID',
      description: 'Leave this recipient out of the new epoch; may be given several times',
      repeatable: true,
    },
  ],
  examples: [{ does: 'Once a quarter, after a key was exchanged', command: 'nexus-backup keys rotate' }],
  exits: exitsWith(
    {
      0: 'the new epoch has begun',
      4: 'what is stored of the keys is damaged',
      5: 'not encrypted, or no such recipient',
      6: 'another run changes the keys',
      8: 'refused: no key here opens it, or a recipient is not at hand',
    },
    [3],
  ),
}

const test: CommandDeclaration = {
  name: 'keys test',
  summary: 'prove that the keys open the repository',
  description: [
    'Have every recipient that this host can reach open the private half of the current epoch, today. A key that was never tried is a hope.',
  ],
  group: 'further',
  arguments: [],
  options: [],
  examples: [
    {
      does: 'The key from the safe, before it is needed',
      command: 'nexus-backup keys test --repo /var/backups/nexus --key-file /media/usb/key',
    },
  ],
  exits: exitsWith(
    {
      0: 'at least one recipient opens each repository, and none failed',
      4: 'a recipient that should open it does not',
      5: 'no repository there, or none is encrypted',
      8: 'no key here opens it',
    },
    [3, 6],
  ),
}

const trust: CommandDeclaration = {
  name: 'keys trust',
  summary: 'vouch for the key that a host signs with',
  description: [
    'Every host signs the manifests of its backups. The first one of a repository is vouched for when it is made; for others somebody who can open the repository gives the word. `verify` warns of signatures for which nobody has.',
  ],
  group: 'further',
  arguments: [{ name: 'ID', required: true, variadic: false, description: 'The signing key, as keys list names it' }],
  options: [],
  examples: [
    { does: 'After a second host made its first backup', command: 'nexus-backup keys trust 0123456789abcdef' },
  ],
  exits: exitsWith(
    {
      0: 'the host is vouched for',
      4: 'what is stored of the keys is damaged',
      5: 'no such signing key',
      8: 'no key here opens the repository, or the signing key is distrusted',
    },
    [3, 6],
  ),
}

const distrust: CommandDeclaration = {
  name: 'keys distrust',
  summary: 'believe a signing key no more',
  description: [
    "Give the epoch's word against the key that a host signs with: because it was stolen, or its host is gone. What it signs from now on counts for nothing; the backups that are ours now stay so, each by the digest of its manifest. It is not taken back.",
    "Rotating the keys does not do this: a new epoch goes on believing the hosts of those before. See first that none of the host's backups is the thief's.",
  ],
  group: 'further',
  arguments: [{ name: 'ID', required: true, variadic: false, description: 'The signing key, as keys list names it' }],
  options: [{ name: 'all', description: 'Believe none of its backups, not even those that are ours now' }],
  examples: [
    {
      does: 'After a host was broken into',
      command: 'nexus-backup keys distrust 0123456789abcdef --key-file /media/usb/key',
    },
  ],
  exits: exitsWith(
    {
      0: 'the key is distrusted',
      4: 'what is stored of the keys is damaged',
      5: 'no such signing key',
      6: 'another run changes the keys',
      8: 'no key here opens the repository, too many backups are signed with it, or another word is in the way',
    },
    [3],
  ),
}

export const keysCommand: CommandDeclaration = {
  name: 'keys',
  summary: 'show and change who can open an encrypted repository',
  description: [
    'An encrypted repository has a key pair for each epoch. Backups are sealed to its public half; the private one is wrapped once for each recipient: a key file, a passphrase, a GPG key or a key in AWS KMS.',
  ],
  group: 'further',
  arguments: [],
  options: [],
  examples: [...create.examples, ...list.examples, ...add.examples, ...test.examples],
  exits: exitsWith({}, [3]),
  subcommands: [list, add, remove, rotate, test, create, trust, distrust, recovery],
}
