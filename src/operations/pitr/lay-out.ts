import { chmod, chown, lchown, open, readFile, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from '../../context.js'
import { errnoOf } from '../../errors.js'
import {
  type RecoverySettings,
  recoverySettingsFile,
  recoverySignal,
  recoveryText,
  restoredConfiguration,
  staleSettingsIn,
} from '../../sources/postgres/recovery-settings.js'
import type { Account } from '../../sources/postgres/run-as.js'
import { linkTablespaces, tablespaceEntry } from '../../sources/postgres/tablespace-links.js'
import type { Selected } from '../select.js'
import { writeTree } from '../trees/restore-tree.js'
import { type NewDirectory, stageDirectory, syncDirectory } from './new-directory.js'

/** A cluster to lay out. */
export interface Layout {
  selected: Selected
  /** As `newDirectoryAt` tells. */
  directory: string
  tablespaces: readonly { oid: number; to: string }[]
  /** Where `pg_wal` will lie, as `newDirectoryAt` tells; left out: in the data directory. */
  waldir?: string | null
  /** Whose it will be; null: ours. */
  account: Account | null
  settings: RecoverySettings
  /** Of what is staged, as `newMark` gives it. */
  mark: string
}

/** What a server finds in a data directory and takes for its own state, or refuses to start beside. */
const states = [
  ...['standby.signal', 'recovery.signal', 'recovery.conf', 'postmaster.pid', 'postmaster.opts'],
  recoverySettingsFile,
]
/** Of the data directory: what holds its WAL. */
const WAL_ENTRY = 'pg_wal'
const GROUP_MAY_READ = 0o040

/**
 * Writes a cluster into its new directories: staged beside, completed for recovery, then put in place, the data directory
 * last. `backup_manifest` stays, and pg_verifybackup passes over the files that are changed here.
 *
 * @returns takes everything away again
 * @throws NexusError `damage`, `failed` (`disk_full`); nothing is left then
 */
export async function layOut(context: Context, layout: Layout): Promise<() => Promise<void>> {
  const made: NewDirectory[] = []
  const drop = async () => {
    for (const directory of [...made].reverse()) await directory.drop()
  }
  try {
    const elsewhere = new Map<string, string>()
    for (const { oid, to } of layout.tablespaces) {
      const directory = await stageDirectory(to, layout.mark, layout.account)
      made.push(directory)
      elsewhere.set(tablespaceEntry(oid), directory.staged)
    }
    if (layout.waldir) {
      const directory = await stageDirectory(layout.waldir, layout.mark, layout.account)
      made.push(directory)
      elsewhere.set(WAL_ENTRY, directory.staged)
    }
    const data = await stageDirectory(layout.directory, layout.mark, layout.account)
    made.push(data)
    const { account } = layout
    const owner = () => (account === null ? null : { uid: account.uid, gid: account.gid })
    await writeTree(context, layout.selected, { directory: data.staged, elsewhere, owner })
    await complete(context, data.staged, layout)
    for (const directory of made) {
      context.signal.throwIfAborted()
      await directory.put()
    }
    return drop
  } catch (error) {
    await drop()
    throw error
  }
}

/** Everything between the captured tree and one that recovers as planned. */
async function complete(
  context: Context,
  directory: string,
  { tablespaces, waldir, account, settings }: Layout,
): Promise<void> {
  for (const name of states) await rm(join(directory, name), { force: true })
  if (waldir) {
    const link = join(directory, WAL_ENTRY)
    await symlink(waldir, link)
    if (account !== null) await lchown(link, account.uid, account.gid)
  }
  await linkTablespaces(
    directory,
    tablespaces.map(({ oid, to }) => ({ oid, path: to })),
    account,
  )
  const configuration = join(directory, 'postgresql.auto.conf')
  const own = async (path: string, text: string) => {
    await writeDurably(path, text)
    if (account !== null) await chown(path, account.uid, account.gid)
  }
  await own(configuration, restoredConfiguration((await textOf(configuration)) ?? '', settings))
  const { recovery, major } = settings
  if (recovery !== null) {
    await own(join(directory, recoverySettingsFile), recoveryText({ recovery, major }))
    await own(join(directory, 'recovery.signal'), recoverySignal)
    await syncDirectory(join(directory, dirname(recoverySettingsFile)))
  }
  const others = staleSettingsIn((await textOf(join(directory, 'postgresql.conf'))) ?? '')
  if (others.length > 0) {
    context.warn(
      `postgresql.conf of the copy sets ${others.join(' and ')}: take that out, a standby cloned from it would obey it`,
    )
  }
  // PostgreSQL takes no other modes than these two (miscinit.c, checkDataDir).
  const { mode } = await stat(join(directory, 'PG_VERSION'))
  await chmod(directory, (mode & GROUP_MAY_READ) === 0 ? 0o700 : 0o750)
  if (account !== null) await chown(directory, account.uid, account.gid)
  await syncDirectory(join(directory, 'pg_tblspc'))
  await syncDirectory(directory)
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}
