/** Where a passphrase comes from; never its own text. */
export type PassphraseSource =
  | { from: 'file'; path: string }
  /** A program and its arguments, run without a shell; it prints the passphrase. */
  | { from: 'command'; command: readonly string[] }
  /** The name of a systemd credential. */
  | { from: 'credential'; name: string }
  /** The operator is asked on the terminal. */
  | { from: 'terminal' }

/** One who can open a repository, as configuration and flags name it. */
export type RecipientSettings =
  | { kind: 'key-file'; path: string }
  | { kind: 'passphrase'; passphrase: PassphraseSource }
  /** `fingerprint`: 40 or 64 hexadecimal digits, upper case. */
  | { kind: 'gpg'; fingerprint: string }
  /** `key`: the ARN of a symmetric key. */
  | { kind: 'aws-kms'; key: string }

export type RecipientKind = RecipientSettings['kind']
export const recipientKinds = ['key-file', 'passphrase', 'gpg', 'aws-kms'] as const satisfies RecipientKind[]

/** An epoch's secret, wrapped for one recipient; what stands in the file beside it tells how it is opened. */
export interface Wrapped {
  kind: RecipientKind
  /** Names the recipient in this repository: `key-…`, `pass-…`, `gpg-…`, `kms-…`. */
  id: string
  /** What the kind needs to know again: salt and costs, a fingerprint, an ARN. */
  parameters: Readonly<Record<string, string | number>>
  secret: Buffer
}

/** What opening and wrapping may use of the world. */
export interface KeyTools {
  /** For programs: PATH, GNUPGHOME, the AWS variables; without anything that holds a secret of ours. */
  env: Readonly<Record<string, string | undefined>>
  signal: AbortSignal
  /** Asks for a passphrase without showing it; undefined where there is nobody to ask. */
  ask: ((question: string) => Promise<string>) | undefined
}

/** How messages name one who can open it. */
export function describeRecipient(settings: RecipientSettings): string {
  switch (settings.kind) {
    case 'key-file':
      return `key file ${settings.path}`
    case 'gpg':
      return `GPG key ${settings.fingerprint}`
    case 'aws-kms':
      return `AWS KMS key ${settings.key}`
    case 'passphrase':
      return `passphrase of ${describeSource(settings.passphrase)}`
  }
}

function describeSource(source: PassphraseSource): string {
  switch (source.from) {
    case 'file':
      return source.path
    case 'command':
      // Arguments may be telling; the program is enough to know which one is meant.
      return `the command ${source.command[0]}`
    case 'credential':
      return `the systemd credential ${source.name}`
    case 'terminal':
      return 'the terminal'
  }
}
