import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { askServer } from '../../sources/postgres/ask-server.js'
import { archivingConcerns } from './archiving-concerns.js'

/** What of a source's settings is of its server. */
export type ServerOfSource = Pick<
  PostgresSourceSettings,
  'name' | 'connection' | 'dataDirectory' | 'binDirectory' | 'keep'
>

/** A server that a configuration names. */
export interface AskedServer {
  source: string
  /** `15.18`; null where it could not be asked. */
  version: string | null
  /** What must be mended before the source can be backed up, or its log archived, as configured. */
  problems: { code: string; message: string; hint: string | null }[]
  /** Why it could not be asked; null where it was. */
  away: string | null
}

/** Asks the servers of clusters whether they are ready for what is configured. Writes nothing. */
export async function askServers(
  context: Pick<Context, 'env' | 'signal'>,
  sources: readonly ServerOfSource[],
): Promise<AskedServer[]> {
  const asked: AskedServer[] = []
  for (const source of sources) {
    const switchesWal = source.keep.pitr !== undefined
    const { version, problems, archiving, away } = await askServer(source, context, { switchesWal })
    const concerns = archiving === null ? [] : archivingConcerns(source, archiving)
    asked.push({
      source: source.name,
      version,
      away,
      problems: [
        ...problems.map(({ code, message, hint }) => ({
          code,
          message: `${source.name}: ${message}`,
          hint: hint ?? null,
        })),
        ...concerns.map(({ code, message, hint }) => ({ code, message, hint })),
      ],
    })
  }
  return asked
}
