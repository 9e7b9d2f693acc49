import { readFileSync } from 'node:fs'
import { errnoOf } from '../errors.js'

/** A process, told from every later one that gets the same number. */
export interface ProcessMark {
  pid: number
  /** Boot id and start time in clock ticks; null where there is no /proc. */
  start: string | null
}

export function thisProcess(): ProcessMark {
  return { pid: process.pid, start: startOf(process.pid) }
}

/** Whether the very process that left the mark still lives on this machine. */
export function isAlive({ pid, start }: ProcessMark): boolean {
  if (start !== null) return startOf(pid) === start
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}

/** proc(5): field 22 of /proc/PID/stat; the second field, the name in parentheses, may hold anything. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return ticks === undefined ? null : `${boot}:${ticks}`
  } catch {
    return null
  }
}
