import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { HookCommand, HookSettings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { distrustOf } from '../../system/trusted-file.js'
import { shellQuoted } from '../shell.js'
import { hookAccount } from './hook-account.js'

/** Programs that run what their first argument names. */
const INTERPRETERS = /^(?:sh|bash|dash|ash|ksh|zsh|busybox|env|node|perl|ruby|php|lua|tclsh|python)[\d.]*$/
/** Programs that run their first argument as another program, or as another user. */
const LAUNCHERS = /^(?:sudo|runuser|setpriv|nice|ionice|nohup|timeout|setsid|flock|systemd-run|systemd-inhibit)$/
const SHEBANG_BYTES = 256

/**
 * Refuses hooks that another user could have written: by the configuration that names them, the program, the interpreter
 * of a script, or a script that is named to an interpreter. What is run as a user may be that user's.
 *
 * @throws NexusError `refused` (`hook_untrusted`, `hook_user`)
 */
export async function assertTrustedHooks(source: string, { before, after, file }: HookSettings): Promise<void> {
  const commands = [before, after].filter(hook => hook !== null)
  if (file !== null) refuse(source, file, 'file')
  for (const hook of commands) {
    const [program = ''] = hook.command
    const also = (await hookAccount(source, hook))?.uid ?? null
    assertTrusted(source, program, { wanted: 'program', also })
    for (const path of scriptsOf(hook.command)) assertTrusted(source, path, { wanted: 'file', also })
  }
}

/** A program or script, and what the first line of it hands it to. */
function assertTrusted(
  source: string,
  path: string,
  { wanted, also }: { wanted: 'program' | 'file'; also: number | null },
): void {
  const interpreter = shebangOf(path)
  for (const one of interpreter === null ? [path] : [path, interpreter]) {
    // The kernel goes up from where a link leads to, and not from where it lies.
    if (one.split('/').includes('..')) {
      throw untrusted(
        source,
        `${one} leads through ..`,
        `name it by the path that this tells: realpath ${shellQuoted(one)}`,
      )
    }
    refuse(source, one, one === path ? wanted : 'program', also)
  }
}

/** A hook as it can be pasted into a shell. */
export function hookInWords({ command }: Pick<HookCommand, 'command'>): string {
  return command.map(shellQuoted).join(' ')
}

/** The command that runs a hook by hand, as its user and with these variables. */
export function hookByHand({ command, user }: HookCommand, variables: Readonly<Record<string, string>>): string {
  const words = Object.entries(variables).map(([name, value]) => `${name}=${shellQuoted(value)}`)
  const as = user === undefined ? [] : ['runuser', '-u', shellQuoted(user), '--', 'env']
  return [...as, ...words, ...command.map(shellQuoted)].join(' ')
}

function refuse(source: string, path: string, wanted: 'program' | 'file', also: number | null = null): void {
  const why = distrustOf(path, wanted, also)
  if (why === null) return
  const what = 'let root or the user of this command alone own and write it and the directories around it'
  throw untrusted(source, why, `${what}: see namei -l ${shellQuoted(path)}`)
}

function untrusted(source: string, why: string, hint: string): NexusError {
  return new NexusError('refused', 'hook_untrusted', `${source}: its hooks are not run: ${why}`, {
    hint: `${hint}; no backup was made`,
  })
}

/**
 * What a program that runs others is told to run: the first of its arguments that is the absolute path of a file, and what
 * that is told to run where it is such a program too.
 */
function scriptsOf([program = '', ...args]: readonly string[]): string[] {
  const name = basename(program)
  if (!INTERPRETERS.test(name) && !LAUNCHERS.test(name)) return []
  const at = args.findIndex(argument => argument.startsWith('/') && isFile(argument))
  const before = at < 0 ? args : args.slice(0, at)
  if (at < 0 || before.some(argument => /^-[a-z]*c$/.test(argument))) return []
  const command = args.slice(at)
  return [...command.slice(0, 1), ...scriptsOf(command)]
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

/** The interpreter that the kernel starts for a script; null for anything else, and for what cannot be read. */
function shebangOf(program: string): string | null {
  let fd: number | undefined
  try {
    fd = openSync(program, 'r')
    const bytes = Buffer.alloc(SHEBANG_BYTES)
    const text = bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0)).toString('latin1')
    return /^#![ \t]*(\/[^\s\0]+)/.exec(text)?.[1] ?? null
  } catch {
    return null
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
