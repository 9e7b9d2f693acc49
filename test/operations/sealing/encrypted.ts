import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SourceSettings, SqliteSourceSettings } from '../../../src/config/settings.js'
import { createKeyFile } from '../../../src/keys/key-file.js'
import type { RecipientSettings } from '../../../src/keys/recipient.js'
import { create } from '../../../src/operations/create.js'
import type { CreateRequest } from '../../../src/operations/requests.js'
import { KeyAccess } from '../../../src/repository/keys/key-access.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'

/** Access with these means and no terminal. */
export function accessWith(...means: RecipientSettings[]): KeyAccess {
  return accessIn({}, ...means)
}

/** The same with variables added to the environment. */
export function accessIn(env: Record<string, string>, ...means: RecipientSettings[]): KeyAccess {
  const signal = new AbortController().signal
  return new KeyAccess(means, { env: { ...process.env, ...env }, signal, ask: undefined })
}

/** A passphrase in a file of its own. */
export function passphraseFile(text: string): RecipientSettings & { kind: 'passphrase' } & { path: string } {
  const path = join(temporaryDirectory(), 'passphrase')
  writeFileSync(path, `${text}\n`, { mode: 0o600 })
  return { kind: 'passphrase', passphrase: { from: 'file', path }, path }
}

/** A new key file. */
export function keyFile(): RecipientSettings & { kind: 'key-file'; path: string } {
  const path = join(temporaryDirectory(), 'key')
  createKeyFile(path, new Date())
  return { kind: 'key-file', path }
}

/** An application whose repository is encrypted for these; its context has the same means. */
export async function encryptedApplication(
  recipients: RecipientSettings[],
  wishes: Parameters<typeof application>[0] = {},
  env: Record<string, string> = {},
): Promise<Application> {
  const app = await application(wishes)
  const encryption = { recipients, maxKeyAge: 90 * 86_400_000 }
  const source: SqliteSourceSettings = { ...app.source, repository: { ...app.source.repository, encryption } }
  const context = { ...app.context, keys: accessIn(env, ...recipients) }
  return {
    ...app,
    source,
    context,
    create: more => create(context, app.journal, requestFor(source, { init: true, ...more })),
  }
}

/** A create of one source. */
export function requestFor(source: SourceSettings, wishes: Partial<CreateRequest> = {}): CreateRequest {
  return {
    sources: [source],
    type: 'auto',
    check: undefined,
    verify: false,
    allowDamaged: false,
    init: false,
    owner: undefined,
    adopt: false,
    label: null,
    keepUntil: null,
    dryRun: false,
    ...wishes,
  }
}

/** Every plain file below a directory. */
export function everyFile(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map(name => join(directory, name))
    .filter(path => statSync(path).isFile())
}

/** Files below a directory that hold a text. */
export function holding(directory: string, text: string): string[] {
  return everyFile(directory).filter(path => readFileSync(path).includes(text))
}
