import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createKeyFile } from '../../src/keys/key-file.js'
import { type S3Server, startS3 } from './s3-server.js'

/** What repositories the end-to-end suites run on: `npm run suites` takes all, `npm test` chooses. */
const kinds = ['local', 'encrypted', 's3', 's3-encrypted', 's3-single-writer'] as const

const wanted = process.env.NEXUS_TEST_REPOSITORY ?? 'local'
if (!kinds.some(kind => kind === wanted)) throw new Error(`NEXUS_TEST_REPOSITORY is ${wanted}, not ${kinds.join(', ')}`)

/** Whether repositories lie in a bucket of a real server. */
export const inBucket = wanted.startsWith('s3')
/** Whether repositories are encrypted for a key file. */
export const isEncrypted = wanted.endsWith('encrypted')
/** Whether one host alone writes into them. */
export const isSingleWriter = wanted === 's3-single-writer'

/** The server of this test file. */
export const server: S3Server | undefined = inBucket ? await startS3() : undefined
const bucket = (await server?.newPlace())?.bucket

/** What every program needs in its environment to reach the bucket. */
export const kindEnvironment: Record<string, string> = server?.env ?? {}

const maker = fileURLToPath(new URL('single-writer.mjs', import.meta.url))

/** A repository of the wanted kind, which is still to be made; one of a single writer is there, but empty. */
export interface TestRepository {
  /** Its location, as `--repo` takes it. */
  repository: string
  /** What opens it. */
  keyFile: string | undefined
}

/**
 * @param directory where it lies, or under a prefix of its own in a bucket
 * @param key path of its key file, which is made unless it is there
 */
export function testRepository(directory: string, key: string, owner?: { uid: number; gid: number }): TestRepository {
  const repository = bucket === undefined ? directory : `s3://${bucket}/${randomBytes(6).toString('hex')}/db1`
  // What `--repo` names becomes a repository of the usual locking: the other one comes from a configuration.
  if (isSingleWriter)
    execFileSync(process.execPath, [maker, repository], { env: { ...process.env, ...kindEnvironment } })
  if (!isEncrypted) return { repository, keyFile: undefined }
  if (!existsSync(key)) createKeyFile(key, new Date())
  if (owner !== undefined && process.getuid?.() === 0) chownSync(key, owner.uid, owner.gid)
  return { repository, keyFile: key }
}

/** A repository as a configuration has it. */
export function inYaml({ repository, keyFile }: TestRepository): string {
  const [, name, prefix] = /^s3:\/\/([^/]+)\/(.+)$/.exec(repository) ?? []
  const place =
    name === undefined
      ? `path: ${repository}`
      : `s3: { bucket: ${name}, prefix: ${prefix}, endpoint: "${server?.endpoint}" }`
  return keyFile === undefined ? `{ ${place} }` : `{ ${place}, encryption: { recipients: [{ key_file: ${keyFile} }] } }`
}

/**
 * Programs that a server starts have its environment, with nothing of ours but HOME: credentials come from a file there.
 * @param home of the server's user
 */
export function giveCredentials(home: string, { uid, gid }: { uid: number; gid: number }): void {
  if (server === undefined) return
  const directory = join(home, '.aws')
  mkdirSync(directory, { mode: 0o700 })
  const file = join(directory, 'credentials')
  const { accessKeyId, secretAccessKey } = server
  const lines = ['[default]', `aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`]
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
  for (const path of [directory, file]) chownSync(path, uid, gid)
}

/** A part's name as it lies in a repository of the wanted kind. */
export function partName(name: string): string {
  return isEncrypted ? `${name}.enc` : name
}
