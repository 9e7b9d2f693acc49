import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatDuration } from '../../config/duration.js'
import type { HookCommand } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { withoutBucketSecrets } from '../../secret-variables.js'
import { type Account, commandAs } from '../../sources/postgres/run-as.js'
import { withoutInherited } from '../../system/inherited-descriptors.js'
import { effectiveUser } from '../../system/ownership.js'
import { handedOn, hookAccount } from './hook-account.js'
import { OutputLines } from './output-lines.js'
import { hookByHand, hookInWords } from './trusted-hook.js'

/** What a hook may take to end once it is told to. */
const GRACE_MS = 5000
/** What its output may take to arrive once it has ended: a daemon that it started may hold the pipe. */
const DRAIN_MS = 500
const LOOK_MS = 20

/** A run of a hook. */
export interface HookRun {
  source: string
  when: 'before' | 'after'
  hook: HookCommand
  /** For its environment. */
  variables: Readonly<Record<string, string>>
  signal: AbortSignal
}

/**
 * Runs a hook as its user, without a shell, in a process group of its own, and passes on what it says as warnings.
 * It and all that it has started end when its time is over or the signal comes, by force if need be.
 *
 * @throws NexusError `failed` (`hook_failed`), `refused` (`hook_user`); the reason of the signal
 */
export async function runHook(context: Context, run: HookRun): Promise<void> {
  const { source, when, hook, variables, signal } = run
  signal.throwIfAborted()
  context.progress({ phase: `${source}: hook ${when}`, done: 0, total: undefined })
  const [program = '', ...args] = hook.command
  const output = new OutputLines(line => context.warn(`${source}: ${when}: ${line}`))
  const timeUp = AbortSignal.timeout(hook.timeout)
  const account = await hookAccount(source, hook)
  const handed = account === null ? withoutBucketSecrets(context.env) : handedOn(context.env)
  // Who is that user already cannot change groups, and has them.
  const other = account?.uid === effectiveUser() && account.uid !== 0 ? null : account
  const {
    file,
    args: words,
    options,
  } = commandAs(other, program, args, { ...handed, ...accountIn(account), ...variables })
  const { uid, gid, env } = options
  const as = uid === undefined || gid === undefined ? {} : { uid, gid }
  const child = withoutInherited<ChildProcess>(['ignore', 'pipe', 'pipe'], stdio =>
    spawn(file, words, { cwd: '/', env, stdio, detached: true, ...as }),
  )
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => output.take(text))
  }
  const status = await statusOf(child, AbortSignal.any([signal, timeUp])).catch((error: unknown) => {
    if (error instanceof StillRuns) throw failed(run, `goes on: ${error.message}`)
    throw failed(run, `cannot be started: ${errnoOf(error) ?? messageOf(error)}`)
  })
  output.end()
  signal.throwIfAborted()
  if (timeUp.aborted) throw failed(run, `took longer than ${formatDuration(hook.timeout)} and was ended`)
  if (status !== 0) throw failed(run, `ended with ${status}${output.last === '' ? '' : `: ${output.last}`}`)
}

function accountIn(account: Account | null): Record<string, string | undefined> {
  if (account === null) return { PGPASSWORD: undefined }
  return { HOME: account.home, USER: account.name, LOGNAME: account.name }
}

/** A program of another user, such as sudo starts, takes no signal from who is not root. */
class StillRuns extends Error {}

/** Waits for a program; its status, or the name of the signal that ended it. @throws StillRuns */
async function statusOf(child: ChildProcess, end: AbortSignal): Promise<number | string> {
  let stop = () => {}
  let ending: Promise<void> | undefined
  const stuck = new Promise<never>((_, reject) => {
    stop = () => {
      ending ??= endGroup(child.pid).catch(reject)
    }
  })
  end.addEventListener('abort', stop, { once: true })
  if (end.aborted) stop()
  const closed = once(child, 'close')
  closed.catch(() => {})
  try {
    const [code, signal] = (await Promise.race([once(child, 'exit'), stuck])) as [number | null, NodeJS.Signals | null]
    await Promise.race([closed, sleep(DRAIN_MS)])
    await ending
    return code ?? signal ?? 'a signal'
  } finally {
    end.removeEventListener('abort', stop)
    child.stdout?.destroy()
    child.stderr?.destroy()
    child.unref()
  }
}

/** Asks a process group to end, and makes it when it does not. @throws StillRuns */
async function endGroup(pid: number | undefined): Promise<void> {
  if (pid === undefined) return
  const until = performance.now() + GRACE_MS
  for (let state = signalGroup(pid, 'SIGTERM'); state !== 'gone'; state = signalGroup(pid, 0)) {
    if (state === 'denied') throw new StillRuns(`process ${pid} belongs to another user and cannot be ended`)
    if (performance.now() > until) {
      signalGroup(pid, 'SIGKILL')
      return
    }
    await sleep(LOOK_MS)
  }
}

/** Signals a process group, or looks whether there is one. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): 'there' | 'gone' | 'denied' {
  try {
    process.kill(-pid, signal)
    return 'there'
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return 'gone'
    if (errnoOf(error) === 'EPERM') return 'denied'
    throw error
  }
}

function failed({ source, when, hook }: HookRun, what: string): NexusError {
  const words = hookInWords(hook)
  const outcome = when === 'before' ? '; no backup was made' : ''
  return new NexusError('failed', 'hook_failed', `${source}: its hook ${when}, ${words}, ${what}`, {
    hint: `try it by hand as the same user: ${hookByHand(hook, { NEXUS_BACKUP_SOURCE: source })}${outcome}`,
  })
}
