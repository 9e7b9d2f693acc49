import type { Settings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { list } from '../../operations/list.js'
import type { SourceKind } from '../../repository/manifest.js'

/** The source that a backup is of; its kind is unknown where nothing readable tells it. */
export interface Origin {
  name: string
  kind: SourceKind | undefined
}

/**
 * The source that a backup's id or its beginning belongs to. A configured name is itself. Undefined when nothing
 * there begins like that, or backups of several sources do: then the operation names the candidates.
 */
export async function originOf(context: Context, settings: Settings, backup: string): Promise<Origin | undefined> {
  const configured = settings.sources.find(source => source.name === backup)
  if (configured !== undefined) return { name: backup, kind: configured.kind }
  const { repositories } = settings
  const { backups, untrusted, problems } = await list(context, { repositories, source: undefined, all: false })
  const everything = [...backups, ...untrusted, ...problems]
  // The one that is named tells its kind itself; of a source, what is ours does.
  const kindOf = (name: string) =>
    untrusted.find(({ id }) => id === backup)?.kind ??
    [...backups, ...untrusted].find(({ source }) => source === name)?.kind
  if (everything.some(entry => entry.source === backup)) return { name: backup, kind: kindOf(backup) }
  const names = new Set(everything.filter(entry => entry.id.startsWith(backup)).map(entry => entry.source))
  const [name] = names
  return names.size === 1 && name !== undefined ? { name, kind: kindOf(name) } : undefined
}
