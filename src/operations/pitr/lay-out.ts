import { constants } from 'node:fs'
import { open, readFile, rm, stat, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
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
import { giveDirectory, giveLink, type Owner } from '../../system/ownership.js'
import type { Selected } from '../select.js'
import { assertWhole, writeTree } from '../trees/restore-tree.js'
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
const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants
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
      const directory = await stageDirectory(to, layout.mark)
      made.push(directory)
      elsewhere.set(tablespaceEntry(oid), directory.staged)
    }
    if (layout.waldir) {
      const directory = await stageDirectory(layout.waldir, layout.mark)
      made.push(directory)
      elsewhere.set(WAL_ENTRY, directory.staged)
    }
    const data = await stageDirectory(layout.directory, layout.mark)
    made.push(data)
    const { account } = layout
    const owner = () => (account === null ? null : { uid: account.uid, gid: account.gid })
    assertWhole(await writeTree(context, layout.selected, { directory: data.staged, elsewhere, owner }))
    await complete(context, { directory: data.staged, wal: elsewhere.get(WAL_ENTRY) }, layout)
    // Until here nobody but this process could reach what was written.
    for (const { staged } of made) if (staged !== data.staged) giveDirectory(staged, account, 0o700)
    for (const directory of made) {
      context.signal.throwIfAborted()
      await directory.put()
    }
    return drop
  } catch (error) {
    for (const directory of made) directory.nameIn(error)
    await drop()
    throw error
  }
}

/** Everything between the captured tree and one that recovers as planned. */
async function complete(
  context: Context,
  { directory, wal = join(directory, WAL_ENTRY) }: { directory: string; wal?: string | undefined },
  { tablespaces, waldir, account, settings }: Layout,
): Promise<void> {
  for (const name of states) await rm(join(directory, name), { force: true })
  if (waldir) {
    const link = join(directory, WAL_ENTRY)
    await symlink(waldir, link)
    if (account !== null) giveLink(link, account)
  }
  await linkTablespaces(
    directory,
    tablespaces.map(({ oid, to }) => ({ oid, path: to })),
    account,
  )
  const configuration = join(directory, 'postgresql.auto.conf')
  const own = async (path: string, text: string) => {
    await writeDurably(path, text, account)
  }
  await own(configuration, restoredConfiguration((await textOf(configuration)) ?? '', settings))
  const { recovery, major } = settings
  if (recovery !== null) {
    // Through the link of a WAL directory elsewhere it could not be reached yet.
    await own(join(wal, basename(recoverySettingsFile)), recoveryText({ recovery, major }))
    await own(join(directory, 'recovery.signal'), recoverySignal)
    await syncDirectory(wal)
  }
  const others = staleSettingsIn((await textOf(join(directory, 'postgresql.conf'))) ?? '')
  if (others.length > 0) {
    context.warn(
      `postgresql.conf of the copy sets ${others.join(' and ')}: take that out, a standby cloned from it would obey it`,
    )
  }
  // PostgreSQL takes no other modes than these two (miscinit.c, checkDataDir).
  const { mode } = await stat(join(directory, 'PG_VERSION'))
  await syncDirectory(join(directory, 'pg_tblspc'))
  await syncDirectory(directory)
  giveDirectory(directory, account, (mode & GROUP_MAY_READ) === 0 ? 0o700 : 0o750)
}

async function writeDurably(path: string, text: string, owner: Owner | null): Promise<void> {
  const handle = await open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
  try {
    await handle.writeFile(text)
    if (owner !== null) await handle.chown(owner.uid, owner.gid)
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
