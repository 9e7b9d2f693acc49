import type { RecipientKind } from '../../keys/recipient.js'

/** One who can open a repository. */
export interface ListedRecipient {
  id: string
  kind: RecipientKind
  label: string | null
  /** When its key was first let in, ISO 8601 UTC; a rotation does not make it younger. */
  since: string
  age_days: number
  /** Past the configured age. */
  is_old: boolean
}

/** One host whose signatures are known here. */
export interface ListedHost {
  id: string
  host: string
  registered: string
  /** An epoch has given its word for it. */
  is_trusted: boolean
}

export interface ListedEpoch {
  id: string
  created: string
  /** SHA-256 of its signing key, for `trusted_epochs` in a configuration. */
  fingerprint: string
  /** The epoch that new backups are sealed to. */
  current: boolean
  /** Its word for hosts counts: it is the repository's own, pinned, or attested by a copy. */
  is_trusted: boolean
  recipients: ListedRecipient[]
}

export interface ListedKeys {
  repository: string
  encrypted: boolean
  epochs: ListedEpoch[]
  hosts: ListedHost[]
}

export interface KeysListResult {
  command: 'keys list'
  repositories: ListedKeys[]
}

export interface KeysAddResult {
  command: 'keys add'
  repository: string
  /** Ids. */
  added: string[]
  /** The repository was not encrypted before: the next backup of each source is a full. */
  began: boolean
}

export interface KeysRemoveResult {
  command: 'keys remove'
  repository: string
  removed: string
}

export interface KeysRotateResult {
  command: 'keys rotate'
  repository: string
  epoch: string
  recipients: string[]
  /** Left out with `--without`. */
  without: string[]
}

/** `unreached`: what opens it is not on this host. */
export interface TestedRecipient {
  id: string
  kind: RecipientKind
  label: string | null
  status: 'ok' | 'failed' | 'unreached'
  detail: string
  age_days: number
  is_old: boolean
}

export interface KeysTestResult {
  command: 'keys test'
  repositories: { repository: string; epoch: string | null; recipients: TestedRecipient[] }[]
}

export interface KeysRecoveryResult {
  command: 'keys recovery'
  repository: string
  status: 'genuine' | 'newer' | 'untrusted'
  edition: number
  /** Of recover.mjs. */
  sha256: string | null
  renewed: boolean
  /** This host has signed them. */
  signed: boolean
}

export interface KeysDistrustResult {
  command: 'keys distrust'
  repository: string
  id: string
  host: string
  /** Ids of the backups signed with the key that count all the same. */
  spared: string[]
}

export interface KeysTrustResult {
  command: 'keys trust'
  repository: string
  id: string
  host: string
}
