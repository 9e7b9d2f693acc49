import { messageOf, NexusError } from '../errors.js'
import { commands } from './declaration/index.js'
import { exitStatusOf } from './exit-codes.js'
import { createInvocation, type RunHandle } from './invoke.js'
import type { CommandIo } from './io.js'
import { completeOptions, environmentSwitch } from './option-values.js'
import type { Outcome } from './outcome.js'
import { noPaint, type Paint, paintFor } from './output/colour.js'
import { errorDocument, errorText } from './output/errors.js'
import { type OptionValues, type ParsedCommand, placeFlags, switchOption } from './parsed.js'
import { type WalCommand, walCommandMeant, walCommandNamed, walStatus } from './wal-command.js'
import { hasSwitch, helpAskedFor } from './words.js'

/** Major and minor of the JSON documents; additive within a major (design section 7). */
const formatVersion = '1.0'

/**
 * Runs one command line, without the program's own name, and returns its exit status.
 * Everything it knows of the process comes in `io`; it never exits and never throws.
 */
export async function runCommandLine(argv: readonly string[], io: CommandIo): Promise<number> {
  const fallback = { json: wantsJson(argv, io), noColor: hasSwitch(argv, '--no-color') }
  let wal = walCommandMeant(argv)
  const warnings: string[] = []
  try {
    const early = await answerEarly(argv)
    if (early !== undefined) {
      io.stdout.write(early)
      return 0
    }
    const { parseCommandLine } = await import('./parser.js')
    const parsed = parseCommandLine(argv)
    wal = walCommandNamed(parsed.command.name)
    const options = completeOptions(parsed, io.env)
    return await runParsed(parsed, options, io, { warnings, wal })
  } catch (error) {
    return await reportError(error, io, { ...fallback, wal, warnings, place: [] })
  }
}

/** Help and version need no parser. */
async function answerEarly(argv: readonly string[]): Promise<string | undefined> {
  const help = helpAskedFor(argv)
  if (help !== undefined) {
    const { commandHelp, programHelp } = await import('./help.js')
    return help === 'program' ? programHelp(commands) : commandHelp(help)
  }
  if (!hasSwitch(argv, '--version') && !hasSwitch(argv, '-V')) return undefined
  const { programVersion } = await import('./version.js')
  return `${programVersion()}\n`
}

async function runParsed(
  parsed: ParsedCommand,
  options: OptionValues,
  io: CommandIo,
  { warnings, wal }: { warnings: string[]; wal: WalCommand | undefined },
): Promise<number> {
  const json = switchOption(options, 'json')
  const paints = await paintsOf(options, io)
  const handle = createInvocation(parsed, options, io, warnings, paints.stderr)
  try {
    const { loadHandler } = await import('./handlers.js')
    const handler = await loadHandler(parsed.command.name)
    const outcome = await handler(handle.invocation)
    handle.finish()
    const journal = journalFailures(handle)
    return writeOutcome(
      { ...outcome, failures: [...journal, ...outcome.failures] },
      { io, options, warnings, paints, wal },
    )
  } catch (error) {
    handle.finish()
    for (const problem of handle.journalProblems) handle.invocation.warn(`the journal could not be written: ${problem}`)
    const { namingCopies } = await import('./naming-copies.js')
    const named = await namingCopies(error, parsed.command.name, handle.invocation.settings)
    return await reportError(named, io, {
      json,
      noColor: switchOption(options, 'no-color'),
      warnings,
      wal,
      place: placeFlags(options, io.cwd),
    })
  } finally {
    await closeQuietly(handle, io, json)
  }
}

/** A run whose record is missing is only partly done; whatever else failed weighs more. */
function journalFailures({ journalProblems }: RunHandle): NexusError[] {
  return journalProblems.map(
    problem =>
      new NexusError(
        'partial',
        'journal_not_written',
        `the work is done, but the journal could not be written: ${problem}`,
        {
          hint: 'see that the state directory has room and can be written; --state DIR names another',
        },
      ),
  )
}

interface Writing {
  io: CommandIo
  options: OptionValues
  warnings: readonly string[]
  paints: { stdout: Paint; stderr: Paint }
  wal: WalCommand | undefined
}

function writeOutcome(outcome: Outcome, { io, options, warnings, paints, wal }: Writing): number {
  const last = outcome.failures.at(-1)
  const place = placeFlags(options, io.cwd)
  const status = last === undefined ? 0 : walStatus(wal, interruptedStatus(io) ?? exitStatusOf(last))
  if (switchOption(options, 'json')) {
    const document = { format_version: formatVersion, ...outcome.document }
    writeDocument(warnings.length === 0 ? document : { ...document, warnings }, outcome.rows, io)
    if (last !== undefined) io.stderr.write(`${JSON.stringify(errorDocument(last, status, { warnings: [], place }))}\n`)
    return status
  }
  const shown = outcome.always || switchOption(options, 'verbose') || io.stdout.isTTY === true
  if (shown && (outcome.always || !switchOption(options, 'quiet'))) {
    if (outcome.rows !== undefined) writeJoined(textsOf(outcome.rows, paints.stdout), io)
    io.stdout.write(outcome.text(paints.stdout))
  }
  for (const failure of outcome.failures) io.stderr.write(errorText(failure, paints.stderr, place))
  return status
}

function writeDocument(document: object, rows: Outcome['rows'], io: CommandIo): void {
  const text = JSON.stringify(document)
  if (rows === undefined) io.stdout.write(`${text}\n`)
  else writeJoined(documentPieces(text, rows), io)
}

function* documentPieces(document: string, { name, items }: NonNullable<Outcome['rows']>): Generator<string> {
  yield `${document.slice(0, -1)},${JSON.stringify(name)}:[`
  let separator = ''
  for (const row of items()) {
    yield `${separator}${JSON.stringify(row.json())}`
    separator = ','
  }
  yield ']}\n'
}

function* textsOf({ items }: NonNullable<Outcome['rows']>, paint: Paint): Generator<string> {
  for (const row of items()) yield row.text(paint)
}

/** A text of all of them would be too long for a string. */
function writeJoined(pieces: Iterable<string>, io: CommandIo): void {
  let waiting = ''
  for (const piece of pieces) {
    waiting += piece
    if (waiting.length < WRITE_CHARACTERS) continue
    io.stdout.write(waiting)
    waiting = ''
  }
  io.stdout.write(waiting)
}

const WRITE_CHARACTERS = 64 * 1024

async function reportError(
  error: unknown,
  io: CommandIo,
  how: {
    json: boolean
    noColor: boolean
    warnings: readonly string[]
    wal: WalCommand | undefined
    place: ReturnType<typeof placeFlags>
  },
): Promise<number> {
  const cause = io.signal.aborted ? io.signal.reason : error
  const status = walStatus(how.wal, exitStatusOf(cause))
  if (how.json) {
    io.stderr.write(`${JSON.stringify(errorDocument(cause, status, how))}\n`)
    return status
  }
  const paint = await paintFor({ terminal: io.stderr.isTTY === true, noColorFlag: how.noColor, env: io.env })
  io.stderr.write(errorText(cause, paint, how.place))
  return status
}

/** A run that was stopped says so by its status, whatever the stopping broke. */
function interruptedStatus(io: CommandIo): number | undefined {
  return io.signal.aborted ? exitStatusOf(io.signal.reason) : undefined
}

async function paintsOf(options: OptionValues, io: CommandIo): Promise<Writing['paints']> {
  if (switchOption(options, 'json')) return { stdout: noPaint, stderr: noPaint }
  const noColorFlag = switchOption(options, 'no-color')
  const paint = (stream: { isTTY?: boolean }) => paintFor({ terminal: stream.isTTY === true, noColorFlag, env: io.env })
  return { stdout: await paint(io.stdout), stderr: await paint(io.stderr) }
}

async function closeQuietly(handle: RunHandle, io: CommandIo, json: boolean): Promise<void> {
  try {
    await handle.close()
  } catch (error) {
    if (!json) io.stderr.write(`nexus-backup: warning: ${messageOf(error)}\n`)
  }
}

/** Whether errors of the command line itself must be JSON too. */
function wantsJson(argv: readonly string[], io: CommandIo): boolean {
  if (hasSwitch(argv, '--json')) return true
  try {
    return environmentSwitch('NEXUS_BACKUP_JSON', io.env.NEXUS_BACKUP_JSON ?? '') === true
  } catch {
    return false
  }
}
