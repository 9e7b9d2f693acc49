import { threadsAreBusy } from '../sources/sqlite/busy-threads.js'
import { type EndingSignal, signalStatus } from './exit-codes.js'

/**
 * Ends the process after a signal with the status that belongs to it. Node's own exit waits for threads, and one may
 * be minutes deep in an integrity_check: then the signal is raised again and kills, which shells report alike.
 */
export function endBySignal(signal: EndingSignal): void {
  if (threadsAreBusy()) {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  } else process.exit(signalStatus(signal))
}
