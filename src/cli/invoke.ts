import type { Settings } from '../config/settings.js'
import type { Context } from '../context.js'
import { messageOf } from '../errors.js'
import type { Journal } from '../journal/types.js'
import type { RecipientSettings } from '../keys/recipient.js'
import type { Invocation } from './invocation.js'
import type { CommandIo } from './io.js'
import type { Paint } from './output/colour.js'
import { printable } from './output/format.js'
import { countOption, type OptionValues, type ParsedCommand, placeFlags, switchOption } from './parsed.js'
import { pasteable } from './pasteable.js'
import { createProgress } from './progress.js'
import { programVersion } from './version.js'

/** An invocation and what must be done when it is over. */
export interface RunHandle {
  invocation: Invocation
  /** Takes the progress line away before anything else is printed. */
  finish(): void
  close(): Promise<void>
  /** What kept the journal from being written: then the run must not end with 0. */
  journalProblems: readonly string[]
}

/** Joins a command line with its process; settings, context and journal are made on first use. */
export function createInvocation(
  parsed: ParsedCommand,
  options: OptionValues,
  io: CommandIo,
  warnings: string[],
  paint: Paint,
): RunHandle {
  const json = switchOption(options, 'json')
  const interactive = io.stderr.isTTY === true && io.stdin.isTTY === true && !json
  const quiet = switchOption(options, 'quiet')
  const terminal = io.stderr.isTTY === true
  const progress = createProgress(io, { shown: terminal && !json && !quiet && io.env.TERM !== 'dumb' })
  const place = placeFlags(options, io.cwd)
  const warn = (text: string) => {
    const message = pasteable(text, place)
    warnings.push(message)
    if (json) return
    progress.print(`nexus-backup: ${paint.warning('warning')}: ${printable(message, { lines: true })}\n`)
  }
  const journalProblems: string[] = []
  const journalFailed = (error: unknown) => {
    const problem = messageOf(error)
    if (!journalProblems.includes(problem)) journalProblems.push(problem)
  }
  const settings = once(async (): Promise<Settings> => {
    const { settingsOf } = await import('./surroundings.js')
    return settingsOf(options, io, warn)
  })
  const context = once(async (): Promise<Context> => {
    const { stateDirectory, timezone, means } = await settings()
    const { KeyAccess } = await import('../repository/keys/key-access.js')
    return {
      now: io.now,
      host: io.host,
      operator: operatorOf(io),
      signal: io.signal,
      warn,
      progress: progress.event,
      journalFailed,
      toolVersion: programVersion(),
      stateDirectory,
      timezone,
      env: io.env,
      keys: new KeyAccess(interactive ? [...means, fromTerminal] : means, {
        env: io.env,
        signal: io.signal,
        ask: interactive ? askOnce(io, progress.stop) : undefined,
      }),
      lockWaitSeconds: countOption(options, 'wait') ?? 0,
      takeOver: switchOption(options, 'take-over'),
    }
  })
  let opened: Journal | undefined
  const journal = once(async (): Promise<Journal> => {
    if (switchOption(options, 'dry-run')) return (await import('./journal.js')).noJournal
    const { openJournal } = await import('../journal/journal.js')
    const { stateDirectory } = await settings()
    opened = openJournal(stateDirectory, { now: io.now, host: io.host, operator: operatorOf(io) })
    return opened
  })
  return {
    invocation: {
      io,
      operands: parsed.operands,
      words: parsed.words,
      options,
      interactive,
      settings,
      context,
      journal,
      say: text => {
        if (!json && !quiet && (terminal || switchOption(options, 'verbose'))) progress.print(text)
      },
      warn,
    },
    finish: progress.stop,
    close: async () => opened?.close(),
    journalProblems,
  }
}

const fromTerminal: RecipientSettings = { kind: 'passphrase', passphrase: { from: 'terminal' } }

/** Each question is asked once: its answer serves the whole run. */
function askOnce(io: CommandIo, before: () => void): (question: string) => Promise<string> {
  const answers = new Map<string, Promise<string>>()
  return question => {
    const known = answers.get(question)
    if (known !== undefined) return known
    before()
    const answer = import('./prompt.js').then(({ askForSecret }) => askForSecret(io, question))
    answers.set(question, answer)
    return answer
  }
}

function operatorOf(io: CommandIo): Context['operator'] {
  const sudo = io.env.SUDO_USER
  return { user: io.user.name, sudo_user: sudo === undefined || sudo === '' ? null : sudo }
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}
