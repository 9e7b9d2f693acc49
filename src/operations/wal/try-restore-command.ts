import type { Context } from '../../context.js'
import { errnoOf, NexusError } from '../../errors.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { withoutBucketSecrets } from '../../secret-variables.js'
import { type Account, commandAs } from '../../sources/postgres/run-as.js'
import { walReader } from '../sealing/wal-seal-for.js'
import type { Selected } from '../select.js'

/** A restore_command that a server is about to depend on. */
export interface RestoreCommandTrial {
  /** As it is going to stand in the settings. */
  command: string
  /** User of the server; null means the current user. */
  account: Account | null
  /** A file of the archive. */
  file: string
  /** Whether recovery needs that file; otherwise it is enough that the archive can be read. */
  needed: boolean
  /** The archive that the command reads, opened by this run. */
  archive: WalArchive
  /** It lies in a bucket: the server gets what opens it. */
  fromBucket: boolean
}

/** The archive that a restored backup recovers from. @param untrusted with what is not ours in it */
export function archiveOf(
  context: Context,
  { room }: Pick<Selected, 'room'>,
  { system_identifier }: { system_identifier: string },
  untrusted: boolean | undefined,
): WalArchive {
  return room.wal(system_identifier, walReader(context, room.repository, { untrusted }))
}

const TIMEOUT_MS = 300_000
/** What a fetch may take to end after a signal. */
const GRACE_MS = 2000

/**
 * Runs a restore_command once as PostgreSQL does: by a shell, as the server's user, in a directory that holds `pg_wal`.
 * The file goes into scratch space of that user and is removed. Configuration, repository, key and program are then known
 * to be within that user's reach before hours of restoring end in a server that cannot recover.
 *
 * @throws NexusError `refused` (`restore_command_fails`) with what the command said; `damage` when the file is damaged
 */
export async function tryRestoreCommand(context: Context, trial: RestoreCommandTrial): Promise<void> {
  const { execa } = await import('execa')
  const { command, account, file, needed, fromBucket } = trial
  context.progress({ phase: 'trying the restore_command', done: 0, total: undefined })
  const env = fromBucket ? context.env : withoutBucketSecrets(context.env)
  const words = ['-c', script, 'restore_command', asServer(command, file)]
  const { file: program, args, options } = commandAs(account, '/bin/sh', words, env)
  // In a group of its own: what the shell has started must end with it.
  const running = execa(program, args, { ...options, reject: false, stdin: 'ignore', detached: true, cleanup: false })
  const end = AbortSignal.any([context.signal, AbortSignal.timeout(TIMEOUT_MS)])
  const stop = () => endGroup(running.pid)
  end.addEventListener('abort', stop, { once: true })
  if (end.aborted) stop()
  const { exitCode, stderr } = await running
  end.removeEventListener('abort', stop)
  context.signal.throwIfAborted()
  if (exitCode === 0 || (exitCode === NOT_ARCHIVED && !needed)) return
  // Damage has its own remedy: nobody could fetch this file.
  await trial.archive.read(file).catch(error => {
    if (error instanceof NexusError && error.kind === 'damage') throw error
  })
  const who = account === null ? 'the current user' : `user ${account.name}`
  const why = end.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : reasonIn(stderr, exitCode)
  throw new NexusError('refused', 'restore_command_fails', `${who} cannot fetch ${file} from the archive: ${why}`, {
    hint: `the recovering server runs as ${account?.name ?? context.operator.user}: let that user read the program, the configuration, the key and the repository (as root, 'nexus-backup create --init --owner ${account?.name ?? 'USER'}' makes a shared one); then run the restore again`,
  })
}

/** What `pitr fetch` ends with for a file that the archive does not hold. */
const NOT_ARCHIVED = 5

/** Asks a process group to end, and makes it. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  signalGroup(pid, 'SIGTERM')
  setTimeout(() => signalGroup(pid, 'SIGKILL'), GRACE_MS)
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch (error) {
    // It is over.
    if (errnoOf(error) !== 'ESRCH') throw error
  }
}

/** A file counts only when it is there: PostgreSQL looks too. */
const script = `dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && trap 'exit 143' TERM && cd "$dir" && mkdir -m 700 pg_wal || exit 125
sh -c "$1" || exit $?
test -f pg_wal/RECOVERYXLOG || { echo 'it ended with 0 and fetched nothing' >&2; exit 1; }`

/** The placeholders as the server replaces them. */
function asServer(command: string, file: string): string {
  return command.replace(/%([fpr%])/g, (_, letter: string) => {
    if (letter === '%') return '%'
    if (letter === 'f') return file
    return letter === 'p' ? 'pg_wal/RECOVERYXLOG' : '000000010000000000000000'
  })
}

/** Our own error and what the hint of it says, else the last line. */
function reasonIn(stderr: string, status: number | undefined): string {
  const lines = stderr.split('\n').filter(line => line.trim() !== '')
  const error = lines.find(line => line.startsWith('nexus-backup: error: '))
  const said = error?.slice('nexus-backup: error: '.length) ?? lines.at(-1)
  return said ?? `the restore_command ended with ${status ?? 'a signal'} and said nothing`
}
