import type { PostgresSourceSettings } from '../../config/settings.js'
import { type ErrorKind, NexusError } from '../../errors.js'
import { checkPitr, type PitrCheckResult } from '../../operations/pitr/check-archiving.js'
import type { CopyLag } from '../../operations/wal/copy-lag.js'
import type { Handler } from '../invocation.js'
import { counted, humanDuration, printable } from '../output/format.js'
import { countOption, switchOption } from '../parsed.js'
import { chosenSources } from '../sources.js'
import { recoveryCalls } from './cluster-restore.js'

const DEFAULT_TIMEOUT_SECONDS = 60

/** `pitr check [SOURCE...]` */
export const runPitrCheck: Handler = async invocation => {
  const { operands, options } = invocation
  const settings = await invocation.settings()
  const chosen = chosenSources(settings, operands)
  const sources = chosen.filter((source): source is PostgresSourceSettings => source.kind === 'postgres')
  if (sources.length === 0 || (operands.length > 0 && sources.length < chosen.length)) throw noCluster(chosen)
  const dryRun = switchOption(options, 'dry-run')
  const result = await checkPitr(await invocation.context(), await invocation.journal(), {
    sources,
    timeoutMs: 1000 * (countOption(options, 'timeout') ?? DEFAULT_TIMEOUT_SECONDS),
    recovery: recoveryCalls(invocation, settings),
    dryRun,
  })
  return { document: result, text: () => render(result), always: dryRun, failures: failuresOf(result, sources.length) }
}

function noCluster(chosen: readonly { name: string; kind: string }[]): NexusError {
  const other = chosen.find(({ kind }) => kind !== 'postgres')
  return new NexusError('usage', 'source_kind', `source ${other?.name} is of kind ${other?.kind}, which has no WAL`, {
    hint: 'name sources of kind postgres',
  })
}

function render({ checked, failures }: PitrCheckResult): string {
  const failed = new Set(failures.map(({ source }) => source))
  const lines = checked.flatMap(({ source, standby, segment, stored_ms, last_archived, pg_wal, copies = [] }) => {
    if (failed.has(source)) return []
    const more = [spaceText(pg_wal), ...copies.map(lagText)].filter(text => text !== '')
    const last =
      last_archived === null ? 'nothing archived yet' : `last archived ${last_archived.name}, ${last_archived.at}`
    if (segment === null) {
      return [[`${printable(source)}: ${standby ? 'a standby; ' : ''}${printable(last)}`, ...more].join('; ')]
    }
    const proven = `${printable(source)}: ${segment} archived in ${humanDuration(stored_ms ?? 0)} and fetched as the server's user`
    return [[proven, ...more].join('; ')]
  })
  return lines.map(line => `${line}\n`).join('')
}

function spaceText(space: PitrCheckResult['checked'][number]['pg_wal']): string {
  return space?.hours_left == null ? '' : `pg_wal has room for ${humanDuration(space.hours_left * 3_600_000)} of WAL`
}

function lagText({ repository, behind, since }: CopyLag): string {
  if (behind === 0) return `${printable(repository)} has all of it`
  return `${printable(repository)} lacks ${behind ?? 'an unknown number of'} files${since === null ? '' : ` since ${since}`}`
}

/** One cluster: its own kind. Several: the status that all share, else 3 as soon as one is well. */
function failuresOf({ failures }: PitrCheckResult, asked: number): NexusError[] {
  const errors = failures.map(
    ({ kind, code, message, hint }) => new NexusError(kind, code, message, hint === null ? {} : { hint }),
  )
  const kinds = new Set<ErrorKind>(failures.map(({ kind }) => kind))
  if (failures.length === 0 || (failures.length === asked && kinds.size === 1)) return errors
  const kind = failures.length < asked ? 'partial' : 'failed'
  const names = failures.map(({ source }) => source).join(' ')
  const message = `${counted(failures.length, 'cluster')} of ${asked} ${failures.length === 1 ? 'has' : 'have'} trouble with archiving`
  return [
    ...errors,
    new NexusError(kind, 'checks_failed', message, {
      hint: `each says why; then only these: nexus-backup pitr check ${names}`,
    }),
  ]
}
