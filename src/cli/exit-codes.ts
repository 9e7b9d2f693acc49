import { type ErrorKind, NexusError } from '../errors.js'

/** The only place that turns a kind of error into an exit status (design section 7). */
const statusOfKind: Readonly<Record<ErrorKind, number>> = {
  failed: 1,
  usage: 2,
  partial: 3,
  damage: 4,
  'not-found': 5,
  locked: 6,
  configuration: 7,
  refused: 8,
  interrupted: 130,
}

export type EndingSignal = 'SIGHUP' | 'SIGINT' | 'SIGTERM'

const statusOfSignal: Readonly<Record<EndingSignal, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }

/** 128 and the number of the signal. */
export function signalStatus(signal: EndingSignal): number {
  return statusOfSignal[signal]
}

/** The signal that a status stands for. */
export function signalOfStatus(status: number): EndingSignal | undefined {
  return (Object.keys(statusOfSignal) as EndingSignal[]).find(signal => statusOfSignal[signal] === status)
}

/** Why `Context.signal` is aborted: work that stops throws it, and it tells its exit status. */
export function interruption(signal: EndingSignal): NexusError {
  return new NexusError('interrupted', `interrupted_${signal.toLowerCase()}`, `stopped by ${signal}`)
}

function signalOf(error: NexusError): EndingSignal | undefined {
  const name = error.code.replace('interrupted_', '').toUpperCase()
  return name in statusOfSignal ? (name as EndingSignal) : undefined
}

/** The exit status of whatever was thrown; a defect is 1. */
export function exitStatusOf(error: unknown): number {
  if (!(error instanceof NexusError)) return statusOfKind.failed
  if (error.kind !== 'interrupted') return statusOfKind[error.kind]
  const signal = signalOf(error)
  return signal === undefined ? statusOfKind.interrupted : signalStatus(signal)
}
