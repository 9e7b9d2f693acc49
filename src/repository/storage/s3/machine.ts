import { readFileSync, readlinkSync } from 'node:fs'
import { errnoOf } from '../../../errors.js'

/**
 * What tells this machine's processes from those of all others: its boot and its table of processes (Linux). Two
 * machines may have one host name, and containers have tables of their own. Null where the system has no such name.
 */
export function machineId(): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return null
  }
}

/** Whether a process surely is no more: only those of this very machine can be judged. */
export function isGone({ machine, pid }: { machine: string | null; pid: number }, own: string | null): boolean {
  if (machine === null || machine !== own) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return errnoOf(error) === 'ESRCH'
  }
}
