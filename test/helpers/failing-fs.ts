import type * as fs from 'node:fs'
import type * as promises from 'node:fs/promises'

/**
 * A file system that fails as a test wants it, for `vi.mock('node:fs', …)` and `vi.mock('node:fs/promises', …)`. Calls that
 * change something are counted. From the call on at which the process is to die, none of them does anything: what a killed
 * process leaves is what lies there then.
 */
export const faults = {
  /** False: hard links are refused, as FAT does. */
  links: true,
  /** Number of the changing call at which everything stops; before it takes effect. */
  dieAt: Number.POSITIVE_INFINITY,
  /** Number of the writing call from which on the disk is full. */
  fullAt: Number.POSITIVE_INFINITY,
  calls: 0,
  writes: 0,
}

export function mend(): void {
  Object.assign(faults, {
    links: true,
    dieAt: Number.POSITIVE_INFINITY,
    fullAt: Number.POSITIVE_INFINITY,
    calls: 0,
    writes: 0,
  })
}

export const hasDied = () => faults.calls >= faults.dieAt

/** What a call throws in a process that is dead. */
export class Died extends Error {}

const CHANGING = ['rename', 'unlink', 'rm', 'rmdir', 'mkdir', 'symlink', 'truncate', 'copyFile', 'utimes', 'lutimes']
const ON_DESCRIPTORS = ['ftruncate', 'fchmod', 'fchown', 'futimes']
const WRITING = ['write', 'writev', 'writeFile']

function step(): void {
  faults.calls += 1
  if (hasDied()) throw new Died('the process is dead')
}

function writing(): void {
  step()
  faults.writes += 1
  if (faults.writes >= faults.fullAt) throw failure('ENOSPC', 'no space left on device')
}

function linking(): void {
  step()
  if (!faults.links) throw failure('EPERM', 'operation not permitted')
}

function failure(code: string, text: string): Error {
  return Object.assign(new Error(`${code}: ${text}`), { code })
}

// biome-ignore lint/suspicious/noExplicitAny: functions of every kind are wrapped
type AnyFunction = (...parameters: any[]) => any

function before(check: () => void, call: AnyFunction): AnyFunction {
  return (...parameters) => {
    check()
    return call(...parameters)
  }
}

function creates(flags: unknown): boolean {
  return typeof flags === 'number' ? (flags & 0o100) !== 0 : /^[wa]/.test(String(flags ?? 'r'))
}

export function failingSync(actual: typeof fs): typeof fs {
  const module = { ...actual } as unknown as Record<string, AnyFunction>
  const wrap = (name: string, check: () => void) => {
    const call = module[`${name}Sync`]
    if (call !== undefined) module[`${name}Sync`] = before(check, call)
  }
  for (const name of [...CHANGING, ...ON_DESCRIPTORS]) wrap(name, step)
  for (const name of WRITING) wrap(name, writing)
  wrap('link', linking)
  // A death is no power cut: what was written is there, and waiting for the disk shows nothing.
  module.fsyncSync = step
  const { openSync, readdirSync } = actual
  // Looking at every process of the machine again and again takes most of the time, and here only this one matters.
  module.readdirSync = ((path: fs.PathLike, ...more: never[]) =>
    path === '/proc' ? [String(process.pid)] : readdirSync(path, ...more)) as AnyFunction
  module.openSync = (path: fs.PathLike, flags?: fs.OpenMode, mode?: fs.Mode) => {
    if (creates(flags)) step()
    return openSync(path, flags as fs.OpenMode, mode)
  }
  return { ...module, default: module } as unknown as typeof fs
}

export function failingPromises(actual: typeof promises): typeof promises {
  const module = { ...actual } as unknown as Record<string, AnyFunction>
  const wrap = (name: string, check: () => void) => {
    const call = module[name]
    if (call !== undefined) module[name] = async (...parameters) => before(check, call)(...parameters)
  }
  for (const name of CHANGING) wrap(name, step)
  for (const name of WRITING) wrap(name, writing)
  wrap('link', linking)
  const { open } = actual
  module.open = async (path: fs.PathLike, flags?: string | number, mode?: fs.Mode) => {
    if (creates(flags)) step()
    const handle = (await open(path, flags, mode)) as unknown as Record<string, AnyFunction>
    for (const [names, check] of [
      [['truncate', 'chmod', 'chown', 'utimes'], step],
      [WRITING, writing],
    ] as const) {
      for (const name of names) {
        const call = handle[name]?.bind(handle)
        if (call !== undefined) handle[name] = async (...parameters) => before(check, call)(...parameters)
      }
    }
    handle.sync = async () => step()
    return handle
  }
  return { ...module, default: module } as unknown as typeof promises
}
