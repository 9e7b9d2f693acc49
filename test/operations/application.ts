import { join } from 'node:path'
import { defaultChainPolicy, type SqliteSourceSettings } from '../../src/config/settings.js'
import type { Context } from '../../src/context.js'
import type { Journal } from '../../src/journal/types.js'
import { create } from '../../src/operations/create.js'
import type { CreateRequest } from '../../src/operations/requests.js'
import { type MakeOptions, makeDatabase } from '../end-to-end/helpers/database.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'

/** A journal that keeps what it is told. */
export function listeningJournal(): Journal & { heard: string[] } {
  const heard: string[] = []
  return {
    heard,
    begin: ({ operation }) => ({ end: ({ result }) => void heard.push(`${operation} ${result}`) }),
    read: () => ({ records: [], chain: { ok: true } }),
    head: () => null,
    close: () => {},
  }
}

/** What `create` does with nothing else asked for, into a repository that may be new. */
export function createRequest(sources: CreateRequest['sources'], wishes: Partial<CreateRequest> = {}): CreateRequest {
  return {
    sources,
    type: 'auto',
    check: undefined,
    verify: false,
    allowDamaged: false,
    init: true,
    owner: undefined,
    adopt: false,
    label: null,
    keepUntil: null,
    dryRun: false,
    ...wishes,
  }
}

/** An application's database, and the operations on it within this process. */
export interface Application {
  source: SqliteSourceSettings
  context: Context
  journal: ReturnType<typeof listeningJournal>
  warnings: string[]
  create(wishes?: Partial<CreateRequest>): ReturnType<typeof create>
}

/** Makes a real database and its settings; nothing is backed up yet. Time goes on by a second with each look. */
export async function application(
  wishes: Partial<SqliteSourceSettings> & { database?: MakeOptions } = {},
): Promise<Application> {
  const { database, ...settings } = wishes
  const directory = temporaryDirectory()
  const path = join(directory, 'app.db')
  await makeDatabase(path, database)
  const source: SqliteSourceSettings = {
    kind: 'sqlite',
    name: 'app',
    path,
    repository: { name: 'local', path: join(directory, 'repository') },
    copies: [],
    checks: ['SELECT count(*) FROM items'],
    service: null,
    keep: {},
    chain: { ...defaultChainPolicy, maxRatio: 100 },
    digestAlgorithm: 'xxh3-128',
    ...settings,
  }
  const warnings: string[] = []
  let looks = 0
  const context = testContext({
    stateDirectory: join(directory, 'state'),
    warn: message => void warnings.push(message),
    now: () => new Date(Date.UTC(2025, 11, 1) + 1000 * looks++),
  })
  const journal = listeningJournal()
  const request = createRequest([source])
  return { source, context, journal, warnings, create: more => create(context, journal, { ...request, ...more }) }
}
