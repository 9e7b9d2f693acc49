import type { Ora } from 'ora'
import type { ProgressEvent } from '../context.js'
import type { CommandIo } from './io.js'
import { humanBytes, humanDuration, printable } from './output/format.js'

/** Work shorter than this shows no progress; loading ora alone takes 80 ms. */
const quietMilliseconds = 1500
/** Between two drawings of a line; ora draws its own spinner in between. */
const drawMilliseconds = 200

/** The progress line of one run. */
export interface Progress {
  event(event: ProgressEvent): void
  /** Prints on stderr without tearing the line. */
  print(text: string): void
  stop(): void
}

interface Phase {
  name: string
  startedAt: number
  last: ProgressEvent
}

/** A line on the terminal's stderr for long work, and one more whenever SIGUSR1 asks. */
export function createProgress(io: CommandIo, { shown }: { shown: boolean }): Progress {
  let phase: Phase | undefined
  let begun: number | undefined
  let drawnAt = 0
  let spinner: Ora | undefined
  let state: 'idle' | 'loading' | 'running' | 'stopped' = 'idle'
  const forget = io.onProgressRequest(() => {
    io.stderr.write(`nexus-backup: ${phase === undefined ? 'starting' : progressLine(phase, io.now().getTime())}\n`)
  })
  const start = async () => {
    state = 'loading'
    const { default: ora } = await import('ora')
    // The work may have ended while ora was loading.
    if ((state as string) === 'stopped' || phase === undefined) return
    state = 'running'
    spinner = ora({
      text: progressLine(phase, io.now().getTime()),
      stream: io.stderr as NodeJS.WritableStream,
      isEnabled: true,
      discardStdin: false,
      hideCursor: false,
    }).start()
  }
  return {
    event: event => {
      const now = io.now().getTime()
      begun ??= now
      if (phase?.name === event.phase) phase.last = event
      else phase = { name: event.phase, startedAt: now, last: event }
      if (!shown) return
      if (state === 'idle' && now - begun >= quietMilliseconds) void start()
      if (spinner === undefined || now - drawnAt < drawMilliseconds) return
      drawnAt = now
      spinner.text = progressLine(phase, now)
    },
    print: text => {
      spinner?.clear()
      io.stderr.write(text)
      if (state === 'running') spinner?.render()
    },
    stop: () => {
      state = 'stopped'
      spinner?.stop()
      spinner = undefined
      forget()
    },
  }
}

/** `itsm: reading 42 % · 450.0 MiB of 1.0 GiB · 310.2 MiB/s · 2.0 s left`. */
export function progressLine({ name, startedAt, last }: Phase, now: number): string {
  const amount = (value: number) => (last.unit === 'items' ? String(value) : humanBytes(value))
  const parts: string[] = []
  const { done, total } = last
  if (total === undefined) parts.push(amount(done))
  else parts.push(`${percentOf(done, total)} %`, `${amount(done)} of ${amount(total)}`)
  const seconds = (now - startedAt) / 1000
  if (seconds >= 1 && done > 0) {
    const rate = done / seconds
    parts.push(last.unit === 'items' ? `${rate.toFixed(1)}/s` : `${humanBytes(rate)}/s`)
    if (total !== undefined && total > done) parts.push(`${humanDuration(((total - done) / rate) * 1000)} left`)
  }
  return `${printable(name)} ${parts.join(' · ')}`
}

function percentOf(done: number, total: number): number {
  return total <= 0 ? 100 : Math.min(100, Math.floor((done / total) * 100))
}
