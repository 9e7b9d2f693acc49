import type { Settings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { list } from '../../operations/list.js'

/**
 * The source that a backup's id or its beginning belongs to. A configured name is itself. Undefined when nothing
 * there begins like that, or backups of several sources do: then the operation names the candidates.
 */
export async function sourceOfBackup(
  context: Context,
  settings: Settings,
  backup: string,
): Promise<string | undefined> {
  if (settings.sources.some(source => source.name === backup)) return backup
  const { repositories } = settings
  const { backups, problems } = await list(context, { repositories, source: undefined, all: false })
  const everything = [...backups, ...problems]
  if (everything.some(entry => entry.source === backup)) return backup
  const names = new Set(everything.filter(entry => entry.id.startsWith(backup)).map(entry => entry.source))
  const [name] = names
  return names.size === 1 ? name : undefined
}
