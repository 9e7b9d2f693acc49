import { NexusError } from '../../errors.js'
import type { OverwriteRule, RestorePlan, RestoreRequest } from '../../operations/requests.js'
import type { RestoreResult } from '../../operations/results.js'
import { shellQuoted } from '../../operations/shell.js'
import type { Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { renderPlan, renderRestore } from '../output/render-restore.js'
import { listOption, placeFlags, switchOption, textOption } from '../parsed.js'
import { pasteable } from '../pasteable.js'

/** Which entries `--include` and `--exclude` ask for; nothing where they are not given. */
export function partOf(options: Invocation['options']): Pick<RestoreRequest, 'part'> {
  const [include, exclude] = [listOption(options, 'include'), listOption(options, 'exclude')]
  return include.length + exclude.length === 0 ? {} : { part: { include, exclude } }
}

/** How `--merge` and `--overwrite` ask for a merge; nothing where they do not. */
export function mergeOf(options: Invocation['options']): Pick<RestoreRequest, 'merge'> {
  const rule = textOption(options, 'overwrite') as OverwriteRule | undefined
  return switchOption(options, 'merge') ? { merge: { overwrite: rule ?? 'if-changed' } } : {}
}

/** The plan as the result of a dry run. */
export function planOutcome(command: string, plan: RestorePlan, zone: string, first = ''): Outcome {
  return {
    document: planDocument(command, plan, plan.previous),
    text: () => `${first}${renderPlan(plan, zone)}`,
    always: true,
    failures: [],
  }
}

/** The document of a dry run: it has the fields of a restore, and the plan beside them. */
export function planDocument(
  command: string,
  plan: { id: string; target: string; captured_at: string },
  previous: string | null = null,
): object {
  const { id, target, captured_at } = plan
  return { command, id, target, captured_at, previous, undo: null, checks: [], duration_ms: 0, dry_run: true, plan }
}

/**
 * Makes sure that the operator means this very source: by `--confirm SOURCE`, or by typing its name on a terminal.
 * Throws `refused` otherwise; `--yes` is not enough to replace live data (design section 6).
 */
export async function confirmSource(invocation: Invocation, source: string, what: string): Promise<void> {
  const given = textOption(invocation.options, 'confirm')
  if (given === source) return
  const again = `add --confirm ${shellQuoted(source)}`
  if (given !== undefined) {
    throw new NexusError(
      'refused',
      'confirmation_differs',
      `--confirm names '${given}', but this ${what} '${source}'`,
      {
        hint: `if that is what you want, ${again}`,
      },
    )
  }
  if (!invocation.interactive) {
    throw new NexusError('refused', 'confirmation_missing', `this ${what} '${source}' and is not confirmed`, {
      hint: again,
    })
  }
  const { askForText } = await import('../prompt.js')
  const typed = await askForText(invocation.io, `This ${what} '${source}'. Type its name to go on:`)
  if (typed.trim() === source) return
  throw new NexusError(
    'refused',
    'confirmation_differs',
    `not confirmed: '${typed}' is not '${source}'; nothing was done`,
    {
      hint: again,
    },
  )
}

const UNSOUND: ReadonlySet<string> = new Set(['damaged_source', 'restored_damaged'])

/**
 * Runs a restore. On a terminal one that is refused because the content fails its checks may be confirmed by the name of its
 * source and goes on; elsewhere `--allow-damaged` is what it needs.
 */
export async function orDamaged(
  invocation: Invocation,
  request: RestoreRequest,
  run: (request: RestoreRequest) => Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await run(request)
  } catch (error) {
    const name = request.source?.name
    const isUnsound = error instanceof NexusError && UNSOUND.has(error.code)
    if (!isUnsound || name === undefined || !invocation.interactive || request.dryRun) throw error
    const { askForText } = await import('../prompt.js')
    const question = `${error.message}. Type '${name}' to put it in place all the same:`
    if ((await askForText(invocation.io, question)).trim() !== name) throw error
    return await run({ ...request, allowDamaged: true })
  }
}

/** What a restore or rollback that was carried out has to say; `more` goes into its document. */
export function restoredOutcome(
  restored: RestoreResult,
  { options, io }: Invocation,
  zone: string,
  more = {},
): Outcome {
  // The undo command needs the same configuration, repository and source as this one had.
  const undo = restored.undo === null ? null : pasteable(restored.undo, placeFlags(options, io.cwd))
  const result = { ...restored, undo }
  return {
    document: { ...result, ...more },
    text: paint => renderRestore(result, { zone, paint }),
    always: false,
    // The last one decides: damage counts for more.
    failures: [...problemsOf(result), ...failedChecks(result)],
  }
}

/** What the place could not take is said before; here it counts. */
function problemsOf({ problems = [], target }: RestoreResult): NexusError[] {
  const [first, ...more] = problems
  if (first === undefined) return []
  const others = more.length === 0 ? '' : ` (and ${more.length} more)`
  return [
    new NexusError(
      'partial',
      'restored_with_problems',
      `${target} is restored, but not all as it was: ${first}${others}`,
      {
        hint: 'every other byte is as it was captured; what is missing needs a file system that can hold it, and owners and devices need root (without owners: --no-owner)',
      },
    ),
  ]
}

/** A database that was damaged when it was backed up or set aside comes back damaged: that is never silent. */
function failedChecks({ checks, target }: RestoreResult): NexusError[] {
  const failed = checks.find(({ status }) => status === 'failed')
  if (failed === undefined) return uncheckedFailures(checks, target)
  const message = `${target} is restored as it was, and that is damaged: it fails ${failed.name}: ${failed.detail}`
  const hint = `salvage what is in it with: sqlite3 ${shellQuoted(target)} .recover`
  return [new NexusError('damage', 'restored_as_damaged', message, { hint })]
}

/** It is restored, and nobody knows whether it passes a check that could not be run. */
export function uncheckedFailures(checks: RestoreResult['checks'], target: string): NexusError[] {
  const unrun = checks.find(({ status }) => status === 'error')
  if (unrun === undefined) return []
  const message = `${target} is restored, but a check of it could not be run: ${unrun.name}: ${unrun.detail}`
  return [
    new NexusError('partial', 'restored_unchecked', message, {
      hint: 'every byte is as it was captured; put right what kept the check from running, then run it there',
    }),
  ]
}
