import { resolve } from 'node:path'
import type { Settings, SourceSettings } from '../config/settings.js'
import { NexusError } from '../errors.js'
import { list } from '../operations/list.js'
import type { RestoreRequest } from '../operations/requests.js'
import type { ListedBackup } from '../operations/results.js'
import type { Origin } from './commands/source-of-backup.js'
import type { Invocation } from './invocation.js'
import { humanBytes, humanTime } from './output/format.js'
import { switchOption } from './parsed.js'
import { askForChoice, askForText, askWhether } from './prompt.js'

/** Asks on the terminal what to restore and where to: source, backup, place. */
export async function chooseRestore(
  invocation: Invocation,
  settings: Settings,
): Promise<{ request: RestoreRequest; origin: Origin }> {
  const { io, options } = invocation
  const { repositories } = settings
  const { backups } = await list(await invocation.context(), { repositories, source: undefined, all: false })
  const backup = await chooseBackup(invocation, settings, backups)
  const origin = { name: backup.source, kind: backup.kind }
  const source = settings.sources.find(candidate => candidate.name === backup.source)
  const common = { repositories, backup: backup.id, source, at: undefined, dryRun: switchOption(options, 'dry-run') }
  const places = [{ name: 'beside the live data, to a path I give', value: 'path' as const }]
  const live = source === undefined ? null : liveData(source)
  const inPlace = live === null ? [] : [{ name: `in place of ${live}`, value: 'in-place' as const }]
  const place = await askForChoice(io, 'Where to?', [...places, ...inPlace])
  if (place === 'in-place' && source !== undefined) {
    return { request: { ...common, target: { kind: 'in-place', source } }, origin }
  }
  const what = backup.kind === 'sqlite' ? 'file' : 'directory'
  const path = (await askForText(io, `Path of the restored ${what}:`)).trim()
  if (path === '') throw nothingDone()
  const target = { kind: 'path', path: resolve(io.cwd, path), force: switchOption(options, 'force') } as const
  const agreed = switchOption(options, 'yes') || (await askWhether(io, `Restore ${backup.id} to ${target.path}?`))
  if (!agreed) throw nothingDone()
  return { request: { ...common, target }, origin }
}

/** Where a restore in place would write; null where the configuration does not say. */
function liveData(source: SourceSettings): string | null {
  if (source.kind === 'sqlite') return source.path
  return source.kind === 'postgres' ? source.dataDirectory : source.paths.join(', ')
}

async function chooseBackup(
  { io }: Invocation,
  { timezone }: Settings,
  backups: readonly ListedBackup[],
): Promise<ListedBackup> {
  const names = [...new Set(backups.map(backup => backup.source))].sort()
  const [first] = names
  if (first === undefined) {
    throw new NexusError('not-found', 'backup_not_found', 'there is no backup to restore', {
      hint: `'nexus-backup list --all' shows what the repositories hold`,
    })
  }
  const name =
    names.length === 1
      ? first
      : await askForChoice(
          io,
          'Which source?',
          names.map(value => ({ name: value, value })),
        )
  const newestFirst = backups.filter(backup => backup.source === name).reverse()
  const choices = newestFirst.map(backup => ({ name: describe(backup, timezone), value: backup }))
  return await askForChoice(io, `Which backup of ${name}?`, choices)
}

function describe(backup: ListedBackup, zone: string): string {
  const proven = backup.proven ? ', proven' : ''
  const label = backup.label === null ? '' : `, ${JSON.stringify(backup.label)}`
  return `${humanTime(backup.captured_at, zone)}  ${backup.type}, ${humanBytes(backup.bytes_source)}${proven}${label}`
}

function nothingDone(): NexusError {
  return new NexusError('refused', 'not_agreed', 'not agreed; nothing was done', {
    hint: `'--yes' answers this question`,
  })
}
