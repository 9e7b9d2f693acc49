import * as v from 'valibot'
import { sourceKinds } from '../repository/manifest.js'
import { encryptionOf, encryptionSchema } from './encryption.js'
import { sourceNameProblem } from './names.js'
import { nearest } from './nearest.js'
import { type ConfigurationProblem, type KeyPath, problemAt, problemsOf, type ReadDocument } from './problems.js'
import { s3Place } from './s3-url.js'
import { documentSchema, repositorySchema } from './schema.js'
import { s3RepositorySchema, s3SettingsOf } from './schema-s3.js'
import { type SourceDocument, sourceSchemas } from './schema-sources.js'
import { type RepositorySettings, supportedKinds } from './settings.js'

/** A configuration as it was written, validated; defaults are filled in by `load.ts`. */
export interface ConfigurationDocument {
  timezone: string | undefined
  state: string | undefined
  repositories: RepositorySettings[]
  sources: { name: string; value: SourceDocument }[]
}

/** Checks a whole configuration and reports every mistake at once. */
export function validateDocument(
  value: unknown,
  document: ReadDocument,
): { settings: ConfigurationDocument; problems: ConfigurationProblem[] } {
  const problems: ConfigurationProblem[] = []
  const read = <T extends v.GenericSchema>(schema: T, input: unknown, path: KeyPath): v.InferOutput<T> | undefined => {
    const result = v.safeParse(schema, input)
    if (!result.success) problems.push(...problemsOf(document, schema, result.issues, path))
    return result.success ? result.output : undefined
  }
  const top = read(documentSchema, value, [])
  const raw = asRecord(value)
  const settings: ConfigurationDocument = { timezone: top?.timezone, state: top?.state, repositories: [], sources: [] }
  for (const [name, entry] of Object.entries(asRecord(raw.repositories))) {
    const problem = sourceNameProblem(name)?.replaceAll('source name', 'repository name')
    if (problem !== undefined) problems.push(problemAt(document, ['repositories', name], problem))
    const wanted = asRecord(entry).encryption
    const encryption =
      wanted === undefined ? undefined : read(encryptionSchema, wanted, ['repositories', name, 'encryption'])
    const wished = read('s3' in asRecord(entry) ? s3RepositorySchema : repositorySchema, entry, ['repositories', name])
    if (wished === undefined) continue
    const place = 's3' in wished ? s3Place(s3SettingsOf(wished.s3)) : { path: wished.path }
    const sealed = encryption === undefined ? {} : { encryption: encryptionOf(encryption) }
    const { trusted_epochs: trustedEpochs } = wished
    const pinned = trustedEpochs === undefined ? {} : { trustedEpochs }
    settings.repositories.push({ name, ...place, ...sealed, ...pinned })
  }
  const names = Object.keys(asRecord(raw.repositories))
  for (const [name, entry] of Object.entries(asRecord(raw.sources))) {
    const path = ['sources', name]
    const kind = kindOf(entry)
    if (typeof kind !== 'string') {
      problems.push(problemAt(document, [...path, ...kind.path], kind.message))
      continue
    }
    const source = read<v.GenericSchema<unknown, SourceDocument>>(sourceSchemas[kind], entry, path)
    if (source === undefined) continue
    const problem = repositoryProblem(source.repository, names)
    if (problem !== undefined) problems.push(problemAt(document, [...path, ...problem.path], problem.message))
    for (const { path: at, message } of copyProblems(source, names)) {
      problems.push(problemAt(document, [...path, ...at], message))
    }
    if (source.stop_service === true && source.service === undefined) {
      problems.push(problemAt(document, [...path, 'stop_service'], 'needs a service to stop'))
    }
    if (source.kind === 'postgres' && source.wal_copies !== undefined && (source.copies ?? []).length === 0) {
      problems.push(problemAt(document, [...path, 'wal_copies'], 'needs copies to bring WAL to'))
    }
    settings.sources.push({ name, value: source })
  }
  return { settings, problems: problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)) }
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

interface Misfit {
  path: string[]
  message: string
}

const protects = `this version protects: ${supportedKinds.join(', ')}`

/** The kind of a source, which decides what may stand below it. What is no mapping is told so by any schema. */
function kindOf(entry: unknown): keyof typeof sourceSchemas | Misfit {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return 'sqlite'
  const kind = asRecord(entry).kind
  if (kind === 'sqlite' || kind === 'postgres' || kind === 'files') return kind
  if (kind === undefined) return { path: [], message: `kind is missing; ${protects}` }
  if (sourceKinds.some(known => known === kind)) {
    return { path: ['kind'], message: `kind ${String(kind)} is not in this version yet; ${protects}` }
  }
  const meant = nearest(String(kind), sourceKinds)
  return {
    path: ['kind'],
    message: `unknown kind '${String(kind)}'; ${meant === undefined ? protects : `did you mean '${meant}'?`}`,
  }
}

/** Every copy goes to a repository that is configured, to none twice, and not to the one it comes from. */
function copyProblems({ repository, copies = [] }: SourceDocument, known: readonly string[]): Misfit[] {
  const own = repository ?? known[0]
  return copies.flatMap((copy, at) => {
    const path = ['copies', String(at)]
    const problem = repositoryProblem(copy.repository, known)
    if (problem !== undefined) return [{ path, message: problem.message }]
    if (copy.repository === own) return [{ path, message: `'${own}' is the repository that copies are made from` }]
    const isTwice = copies.findIndex(other => other.repository === copy.repository) < at
    return isTwice ? [{ path, message: `'${copy.repository}' stands twice` }] : []
  })
}

function repositoryProblem(name: string | undefined, known: readonly string[]): Misfit | undefined {
  if (name === undefined) {
    if (known.length === 1) return undefined
    const message =
      known.length === 0
        ? 'no repository is configured'
        : `several repositories: choose one with 'repository' (${known.join(', ')})`
    return { path: [], message }
  }
  if (known.includes(name)) return undefined
  const meant = nearest(name, known)
  return {
    path: ['repository'],
    message: `no repository '${name}'${meant === undefined ? '' : `; did you mean '${meant}'?`}`,
  }
}
