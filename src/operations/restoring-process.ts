import { readFileSync, statSync } from 'node:fs'
import { errnoOf } from '../errors.js'
import { userName } from '../sources/sqlite/users.js'

/** Who is at a restore, as its record names it. */
export interface RestoringProcess {
  pid: number
  /** `startOf` the process; '' where the kernel does not tell. */
  started: string
}

/** This process, for a record. */
export function thisProcess(): RestoringProcess {
  return { pid: process.pid, started: startOf(process.pid) }
}

/** The restore of that process, in words: `the restore by process 4711 (user root)`. */
export function nameRestore({ pid }: RestoringProcess): string {
  const stat = statSync(`/proc/${pid}`, { throwIfNoEntry: false })
  return `the restore by process ${pid}${stat === undefined ? '' : ` (user ${userName(stat.uid)})`}`
}

/** Whether the very process that left a record still lives. */
export function isRunning({ pid, started }: RestoringProcess): boolean {
  // Where the kernel does not tell when a process started, a reused pid cannot be told from the old one.
  return started === '' ? isAlive(pid) : startOf(pid) === started
}

/** When a process started, in the kernel's own count, so that a reused pid is not taken for it; '' when it is gone. */
function startOf(pid: number): string {
  try {
    // The command's name in parentheses may hold anything, so count from behind it: field 22 is the start time.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) !== 'ESRCH'
  }
}
