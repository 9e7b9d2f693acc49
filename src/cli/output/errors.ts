import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { pasteable } from '../pasteable.js'
import type { Paint } from './colour.js'
import { printable } from './format.js'

/** An error as people read it: what failed, then what to do. A defect shows where it happened. */
export function errorText(error: unknown, paint: Paint, place: PlaceFlags): string {
  const lines = [`nexus-backup: ${paint.bad('error')}: ${printable(messageOf(error), { lines: true })}`]
  if (!(error instanceof NexusError) && error instanceof Error && errnoOf(error) === undefined) {
    const stack = (error.stack ?? '').split('\n').slice(1)
    lines.push(...stack.map(line => printable(line)))
  }
  const hint = hintOf(error, place)
  if (hint !== null) lines.push(`${paint.strong('hint')}: ${printable(hint, { lines: true })}`)
  return `${lines.join('\n')}\n`
}

/** The JSON object of a failed run (design section 7); warnings travel with it, so that stderr stays one document. */
export function errorDocument(
  error: unknown,
  status: number,
  { warnings, place }: { warnings: readonly string[]; place: PlaceFlags },
): object {
  const code = error instanceof NexusError ? error.code : (errnoOf(error)?.toLowerCase() ?? 'internal_error')
  const body = { code, exit_code: status, message: messageOf(error), hint: hintOf(error, place) }
  return warnings.length === 0 ? { error: body } : { error: body, warnings }
}

/** The run's own `--repo` and the like, which the commands in hints need as well. */
type PlaceFlags = Parameters<typeof pasteable>[1]

function hintOf(error: unknown, place: PlaceFlags): string | null {
  const hint = plainHint(error)
  return hint === null ? null : pasteable(hint, place)
}

function plainHint(error: unknown): string | null {
  if (error instanceof NexusError) return error.hint ?? (error.kind === 'usage' ? "see 'nexus-backup --help'" : null)
  const errno = errnoOf(error)
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return 'make room there and run it again; nothing was lost'
  if (errno === 'EACCES' || errno === 'EPERM') return 'run it as the owner of that file, or through sudo'
  if (errno !== undefined) return null
  return 'this is a defect in nexus-backup; report it with the lines above and the command'
}
