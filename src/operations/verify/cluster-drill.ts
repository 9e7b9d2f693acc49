import { lstatSync, mkdtempSync } from 'node:fs'
import { statfs, truncate } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { amcheck, checksums, missingContent } from '../../sources/postgres/amcheck.js'
import { clusterAccount } from '../../sources/postgres/cluster-owner.js'
import type { ClusterCheck } from '../../sources/postgres/restored-checks.js'
import type { Account } from '../../sources/postgres/run-as.js'
import { removeTree } from '../../system/names.js'
import { giveDirectory, makeDirectoryFor } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
import { baseFacts, majorOf } from '../pitr/base-facts.js'
import { layOut } from '../pitr/lay-out.js'
import { newMark } from '../pitr/new-directory.js'
import { runRestored, serverPrograms } from '../pitr/run-restored.js'
import type { Selected } from '../select.js'

/** Where a copy may be put that the server's user can reach, when the state directory is closed to him. */
const OTHERS_ROOM = '/var/tmp'

/** What a drill found. */
interface DrilledCluster {
  checks: ClusterCheck[]
  /** From the beginning of the restore until the server was ready; the checks came after. */
  restoreMs: number
}

/** Parameters that `ALTER SYSTEM` has set: of a scratch copy nobody needs them, and each is one that may stop the start. */
const ALTERED = 'postgresql.auto.conf'

/**
 * Restores a cluster into scratch space and runs it there by itself: no archiving, no TCP port, nobody that it connects
 * to, no WAL but its own. It must become consistent, pass the content checks and pg_amcheck, and stop cleanly, and its
 * page checksums must be right.
 *
 * @returns one result a check; the first tells how long it took until the server was ready, and how long the checks
 * @throws NexusError `damage` when stored bytes are; anything else says that the drill could not be carried out
 */
export async function drillCluster(
  context: Context,
  selected: Selected,
  { source, scratch }: { source: PostgresSourceSettings | null; scratch: string },
): Promise<DrilledCluster> {
  const facts = baseFacts(selected.manifest)
  const programs = await serverPrograms(context, facts, source)
  const account = await clusterAccount(facts)
  const room = await roomFor(account, scratch, selected.manifest.bytes_source)
  const directory = join(room, 'data')
  const began = performance.now()
  try {
    const tablespaces = facts.tablespaces.map(({ oid }) => ({ oid, to: join(room, `tablespace-${oid}`) }))
    const settings = { recovery: null, keepArchiving: false, major: majorOf(facts) }
    await layOut(context, { selected, directory, tablespaces, account, settings, mark: newMark() })
    await truncate(join(directory, ALTERED))
    const copy = { directory, facts, account, source, pauses: false, fetchesFromBucket: false }
    const running = await runRestored(context, programs, copy).catch(wrongCopy)
    if ('name' in running) return { checks: [running], restoreMs: Math.round(performance.now() - began) }
    const { server, session, state, readyAt, checks } = running
    const restoreMs = Math.round(readyAt - began)
    try {
      checks.push(await amcheck(session))
      await server.stop()
    } finally {
      await server.stop('immediate')
      server.forget()
    }
    const { signal } = context
    const pages = await checksums(programs, account, { directory, enabled: facts.data_checksums, signal })
    const checked = Math.round(performance.now() - readyAt)
    const detail = `ready after ${restoreMs} ms at ${state.lsn}, checked in ${checked} ms more`
    return { checks: [{ name: 'recovery', status: 'ok', detail }, ...checks, pages], restoreMs }
  } finally {
    removeTree(room)
  }
}

/** What the server itself calls wrong in the files of the copy is a finding; any other end of it is this machine's. */
function wrongCopy(error: unknown): ClusterCheck {
  if (!(error instanceof NexusError) || error.code !== 'server_died' || !missingContent.test(error.message)) throw error
  return { name: 'recovery', status: 'failed', detail: error.message }
}

/** A directory of the server's user: in scratch where he can come in, else where everybody can. */
async function roomFor(account: Account | null, scratch: string, bytes: number): Promise<string> {
  if (account === null || isOpenTo(account, scratch)) {
    const room = join(scratch, 'drill')
    makeDirectoryFor(room, account)
    return room
  }
  const { bavail, bsize } = await statfs(OTHERS_ROOM)
  if (bavail * bsize < bytes) {
    const [need, have] = [bytes, bavail * bsize].map(amount => `${Math.ceil(amount / 1e6)} MB`)
    throw new NexusError(
      'failed',
      'disk_full',
      `${scratch} is closed to ${account.name}, and ${OTHERS_ROOM} has ${have} free and the drill needs ${need}`,
      { hint: `run it as ${account.name} with a state directory of his: --state DIR` },
    )
  }
  const room = mkdtempSync(join(trustedPath(OTHERS_ROOM), 'nexus-backup-drill-'))
  giveDirectory(room, account, 0o700)
  return room
}

/** Whether a user can pass through every directory on the way. */
function isOpenTo({ uid, gid }: Account, path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    const { mode, uid: owner, gid: group } = lstatSync(at)
    const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001
    if ((mode & bit) === 0) return false
    if (at === dirname(at)) return true
  }
}
