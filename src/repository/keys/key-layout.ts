import type { Storage } from '../storage/storage.js'

/** Directory of everything about keys in a repository's root. */
export const keysDirectory = 'keys'
const epochPattern = /^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}$/
const recipientPattern = /^(?:key-[0-9a-f]{16}|pass-[0-9a-f]{8}|gpg-[0-9a-f]{16}|kms-[0-9a-f]{8})$/
const signerPattern = /^[0-9a-f]{16}$/

/** Bytes a file below `keys` may have. */
export const keyFileLimit = 64 * 1024

/** Whether a name can be an epoch's: the instant it began, and eight hexadecimal digits. */
export function isEpochId(name: string): boolean {
  return epochPattern.test(name)
}

/** Whether a name can be a recipient's. */
export function isRecipientId(name: string): boolean {
  return recipientPattern.test(name)
}

export function isSignerId(name: string): boolean {
  return signerPattern.test(name)
}

export function epochFile(epoch: string): string {
  return `${keysDirectory}/${epoch}/epoch.json`
}

export function recipientsDirectory(epoch: string): string {
  return `${keysDirectory}/${epoch}/recipients`
}

export function recipientFile(epoch: string, id: string): string {
  return `${recipientsDirectory(epoch)}/${id}.json`
}

export function removalsDirectory(epoch: string): string {
  return `${keysDirectory}/${epoch}/removed`
}

/** An epoch's word that a recipient was taken out, by the SHA-256 of what he opened it with. */
export function removalFile(epoch: string, id: string, wrap: string): string {
  return `${removalsDirectory(epoch)}/${id}-${wrap.slice(0, 16)}.json`
}

/** Whatever reads documents about keys. */
export type KeyReader = Pick<Storage, 'location' | 'list' | 'readSmall'>

/** The epoch whose document this is; undefined for any other file. */
export function epochOf(name: string): string | undefined {
  const [, epoch = ''] = /^keys\/([^/]+)\/epoch\.json$/.exec(name) ?? []
  return isEpochId(epoch) ? epoch : undefined
}

/** The host whose document this is; undefined for any other file. */
export function hostOf(name: string): string | undefined {
  const [, host = ''] = /^keys\/hosts\/([^/]+)\.json$/.exec(name) ?? []
  return isSignerId(host) ? host : undefined
}

/** The epoch and the recipient whose file this is; undefined for any other file. */
export function recipientOf(name: string): { epoch: string; id: string } | undefined {
  const [, epoch = '', id = ''] = /^keys\/([^/]+)\/recipients\/([^/]+)\.json$/.exec(name) ?? []
  return isEpochId(epoch) && isRecipientId(id) ? { epoch, id } : undefined
}

/** Names the epoch that followed one: of two rotations at the same time only one counts. */
export function nextFile(epoch: string): string {
  return `${keysDirectory}/${epoch}/next.json`
}

/** Names the repository's first epoch. */
export const firstFile = `${keysDirectory}/first.json`

/** Public halves of the keys that hosts sign with. */
export const hostsDirectory = `${keysDirectory}/hosts`

export function hostFile(signer: string): string {
  return `${hostsDirectory}/${signer}.json`
}

/** Words of epochs for a host's key. */
export function vouchDirectory(signer: string): string {
  return `${hostsDirectory}/${signer}`
}

/** An epoch's word for a host's key. */
export function vouchFile(signer: string, epoch: string): string {
  return `${vouchDirectory(signer)}/${epoch}.json`
}

/** What hosts have signed of the files in the repository's root. */
export const recoveryDirectory = `${keysDirectory}/recovery`
/** An epoch's word against a host's key. */
export function distrustFile(signer: string, epoch: string): string {
  return `${vouchDirectory(signer)}/distrusted-${epoch}.json`
}

/** Whether a file in a directory of words for a host's key is one against it. */
export function isDistrust(file: string): boolean {
  return /^distrusted-.*\.json$/.test(file)
}

/** Whether a directory holds words for a host's key. */
export function isOfWords(directory: string): boolean {
  const [, signer = ''] = /^keys\/hosts\/([^/]+)$/.exec(directory) ?? []
  return isSignerId(signer)
}

/** What copies attest of the epochs that came with them. */
export const copiesDirectory = `${keysDirectory}/copies`

export function attestationsDirectory(source: string): string {
  return `${copiesDirectory}/${source}`
}

export function attestationFile(source: string, number: number): string {
  return `${attestationsDirectory(source)}/${number}.json`
}
