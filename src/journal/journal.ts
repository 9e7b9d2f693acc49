import { join } from 'node:path'
import type { Database } from 'better-sqlite3'
import type { Operator } from '../context.js'
import { catalogExists, createCatalog, isEmpty, type Owner, openCatalog, ownerForNewFiles } from './catalog.js'
import { guarded } from './faults.js'
import { chainProblem, firstPrevious, hashOf, type Link, linkFields } from './links.js'
import { isAlive, thisProcess } from './processes.js'
import { recordsOf } from './records.js'
import type { Journal } from './types.js'

export interface JournalDeps {
  now(): Date
  host: string
  operator: Operator
  /** Whom new files in the state directory are given to; undefined leaves them ours. For tests. */
  ownerOf?(directory: string): Owner | undefined
}

/** What a link says; the journal adds its place in the chain. */
type Event = Omit<Link, 'sequence' | 'begun' | 'previous' | 'hash'> & { begun: number | null }

const columns = [...linkFields, 'hash'] as const
const insertLink = `INSERT INTO journal (${columns.join(', ')}) VALUES (${columns.map(name => `@${name}`).join(', ')})`

/**
 * The journal in `catalog.db` of a state directory. Nothing is opened or made before its first use, and reading makes
 * nothing. Every call but `close` may throw NexusError: `damage` or `refused` for a catalog that cannot be used,
 * `locked`, or `failed` (full disk, permissions); the caller reports it and goes on with its work.
 */
export function openJournal(stateDirectory: string, deps: JournalDeps): Journal {
  const file = join(stateDirectory, 'catalog.db')
  let database: Database | undefined

  function forReading(): Database | undefined {
    if (database === undefined && catalogExists(file)) database = openCatalog(file)
    return database === undefined || isEmpty(database) ? undefined : database
  }

  function forWriting(): Database {
    if (database !== undefined) return database
    createCatalog(file, deps.ownerOf ?? ownerForNewFiles)
    database = openCatalog(file)
    return database
  }

  function write(event: Event): number {
    return guarded(file, 'writing', () => append(forWriting(), event))
  }

  function event(fields: Partial<Event> & Pick<Event, 'event' | 'begun'>): Event {
    const { pid, start } = thisProcess()
    return {
      at: deps.now().toISOString(),
      operation: null,
      source: null,
      repository: null,
      backup: null,
      user: stored(deps.operator.user),
      sudo_user: storedOrNull(deps.operator.sudo_user),
      host: stored(deps.host),
      pid,
      process_start: start,
      result: null,
      error: null,
      ...fields,
    }
  }

  return {
    begin({ operation, source, repository }) {
      const begun = write(
        event({
          event: 'begin',
          begun: null,
          operation: stored(operation),
          source: storedOrNull(source),
          repository: storedOrNull(repository),
        }),
      )
      return {
        end({ result, backup = null, error = null }) {
          const outcome = { result: stored(result), backup: storedOrNull(backup), error: storedOrNull(error) }
          write(event({ event: 'end', begun, ...outcome }))
        },
      }
    },
    read() {
      return guarded(file, 'reading', () => {
        const links = forReading()?.prepare<[], Link>('SELECT * FROM journal ORDER BY sequence').all() ?? []
        const problem = chainProblem(links)
        const records = recordsOf(links, stored(deps.host), isAlive)
        return { records, chain: problem === undefined ? { ok: true } : { ok: false, problem } }
      })
    },
    head() {
      return guarded(file, 'reading', () => {
        const open = forReading()
        return open === undefined ? null : (headOf(open) ?? null)
      })
    },
    close() {
      database?.close()
      database = undefined
    },
  }
}

/** Adds a link under SQLite's write lock, so that processes never fork the chain. Returns its sequence. */
function append(database: Database, event: Event): number {
  const add = database.transaction(() => {
    const head = headOf(database)
    const sequence = (head?.sequence ?? 0) + 1
    const link = { ...event, sequence, begun: event.begun ?? sequence, previous: head?.hash ?? firstPrevious }
    database.prepare(insertLink).run({ ...link, hash: hashOf(link) })
    return sequence
  })
  return add.immediate()
}

function headOf(database: Database): { sequence: number; hash: string } | undefined {
  return database
    .prepare<[], { sequence: number; hash: string }>(
      'SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1',
    )
    .get()
}

/** Text as SQLite gives it back, so that its hash stays the same: UTF-8 has no lone surrogates. Bounded. */
function stored(text: string): string {
  return Buffer.from(text.slice(0, 8192), 'utf8').toString('utf8')
}

function storedOrNull(text: string | null): string | null {
  return text === null ? null : stored(text)
}
