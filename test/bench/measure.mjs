// Runs one command and measures it from outside: wall time, peak resident memory, success.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const gnuTime = '/usr/bin/time'

/** Whether peak memory can be measured here (Debian's package `time`). */
export const measuresMemory = existsSync(gnuTime)

/**
 * Runs a bash script and measures it. A script that fails ends the whole bench: a wrong number is worse than none.
 * GNU time reports the largest process of the tree; every tool measured here does its work in one process.
 *
 * @param {string} script
 * @param {{ env: Record<string, string>, scratch: string }} options
 * @returns {{ seconds: number, peakMb: number | null, stdout: string }}
 */
export function measured(script, { env, scratch }) {
  const notes = join(scratch, 'time')
  const words = measuresMemory ? [gnuTime, '-f', '%M', '-o', notes, 'bash'] : ['bash']
  const [program, ...args] = [...words, '-euo', 'pipefail', '-c', script]
  const began = process.hrtime.bigint()
  const { status, stdout, stderr } = spawnSync(program, args, {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  if (status !== 0) throw new Error(`this failed with ${status}: ${script}\n${stderr}`)
  const peakMb = measuresMemory ? Number(readFileSync(notes, 'utf8').trim().split('\n').at(-1)) / 1024 : null
  rmSync(notes, { force: true })
  return { seconds, peakMb, stdout }
}

/** Runs a script that belongs to no measurement. */
export function unmeasured(script, env) {
  execFileSync('bash', ['-euo', 'pipefail', '-c', script], { env: { ...process.env, ...env }, stdio: 'pipe' })
}

/** The same start for everybody: nothing left to be written, the database in the page cache. */
export function settle(...files) {
  execFileSync('sync')
  for (const file of files) execFileSync('bash', ['-c', 'cat -- "$0" > /dev/null', file])
}

/** Bytes of all files below a path, links not followed: pgBackRest's `latest` would count its newest backup twice. */
export function bytesBelow(path) {
  if (!existsSync(path)) return 0
  const found = lstatSync(path)
  if (!found.isDirectory()) return found.size
  return readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), 0)
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
