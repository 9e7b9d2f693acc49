import { NexusError } from '../errors.js'
import type { Keyring } from './keyring/keyring.js'
import { repositoryFile } from './layout.js'
import { knownDigests } from './recovery-editions.js'
import { differsFromSigned, type SignedFiles, trustedFiles } from './recovery-signature.js'
import { rootFileLimit, sha256Of } from './root-files.js'
import { recoveryFiles } from './root-making.js'
import type { Storage } from './storage/storage.js'
import type { Repository } from './types.js'

/** What `// edition N` near the beginning of a recover.mjs says; before there were editions it said nothing. */
const editionPattern = /^\/\/ edition (\d{1,6})$/m
/** Editions beyond ours that a later program may have: a higher number is nobody's. */
const MOST_AHEAD = 100

/**
 * Whose a repository's recover.mjs and RECOVER.txt are. `genuine`: of a version that this program knows, or signed by a host
 * that counts. `newer`: they call themselves later than this program, and nothing here tells whether that is true.
 */
export interface RecoveryTrust {
  status: 'genuine' | 'newer' | 'untrusted'
  edition: number
  /** Of recover.mjs; null where there is none. */
  sha256: string | null
  /** What is not genuine, with the rest of a sentence. */
  findings: { part: string; problem: string }[]
}

/** Judges the files that recover a repository without this program. What is missing is left to `checkRootFiles`. */
export async function recoveryTrust(repository: Repository, keyring: Keyring): Promise<RecoveryTrust> {
  const { storage } = repository
  const ours = await recoveryFiles()
  const present = await presentFiles(storage, [...ours.keys(), repositoryFile])
  const trusted = keyring.hasLines ? await trustedFiles(repository, keyring) : []
  const script = present.get('recover.mjs')
  const [edition, known] = [editionOf(script), editionOf(ours.get('recover.mjs'))]
  const unknown = [...ours.keys()].filter(name => isUnknown(name, present.get(name), trusted))
  const description = present.get(repositoryFile)
  const findings = unknown.map(name => ({ part: name, problem: unknownProblem(name, present.get(name)) }))
  const sha256 = script === undefined ? null : sha256Of(script)
  if (description !== undefined && differsFromSigned(trusted, sha256Of(description))) {
    findings.push({ part: repositoryFile, problem: 'is not what a host of this repository has signed' })
  }
  if (findings.length === 0) return { status: 'genuine', edition, sha256, findings }
  // Whoever writes a later one where there are keys signs it too.
  const isNewer = !keyring.hasLines && isLater(edition, known) && isUnknown('recover.mjs', script, trusted)
  if (!isNewer) return { status: 'untrusted', edition, sha256, findings }
  const problem = `is of edition ${edition}, and this program knows none after ${known}: it cannot tell whether it is genuine`
  return { status: 'newer', edition, sha256, findings: [{ part: 'recover.mjs', problem }] }
}

/** Whether an edition may be that of a later program than one whose own is `ours`. */
export function isLater(edition: number, ours: number): boolean {
  return edition > ours && edition <= ours + MOST_AHEAD
}

/** The edition that a recover.mjs calls itself; 0 for one that says nothing. */
export function editionOf(script: Buffer | undefined): number {
  return Number(editionPattern.exec(script?.toString('utf8') ?? '')?.[1] ?? 0)
}

/** Those of these files that are there and can be read, by name. */
export async function presentFiles(storage: Storage, names: readonly string[]): Promise<Map<string, Buffer>> {
  const read = async (name: string) => [name, await orNone(storage.readSmall(name, rootFileLimit))] as const
  const found = await Promise.all(names.map(read))
  return new Map(found.flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes]])))
}

/** Whether a file is of no version that this program knows, and nobody who counts has signed it. */
export function isUnknown(name: string, bytes: Buffer | undefined, trusted: readonly SignedFiles[]): boolean {
  if (bytes === undefined) return false
  const digest = sha256Of(bytes)
  return knownDigests[name]?.includes(digest) !== true && !trusted.some(files => files[name] === digest)
}

function unknownProblem(name: string, bytes: Buffer | undefined): string {
  const digest = bytes === undefined ? '' : ` (SHA-256 ${sha256Of(bytes)})`
  const advice = name === 'recover.mjs' ? 'never run it with a key' : 'do not follow it'
  return `is not the ${name} of any version of nexus-backup${digest}: ${advice}`
}

async function orNone(reading: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'not-found' || error.kind === 'damage')) return undefined
    throw error
  }
}
