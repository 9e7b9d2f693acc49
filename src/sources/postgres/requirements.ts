import { NexusError } from '../../errors.js'

/** What a role may do. */
export interface Access {
  role: string
  replication: boolean
  /** pg_monitor */
  monitor: boolean
}

/** What a role lacks for base backups. */
export function accessProblems({ role, replication, monitor }: Access): NexusError[] {
  const name = roleInSql(role)
  const problems: NexusError[] = []
  if (!replication) {
    const message = `the role ${role} may not take base backups`
    problems.push(
      new NexusError('failed', 'role_lacks_replication', message, {
        hint: `as a superuser: ALTER ROLE ${name} REPLICATION`,
      }),
    )
  }
  if (!monitor) {
    const message = `the role ${role} may not see the server’s settings and sizes`
    problems.push(
      new NexusError('failed', 'role_lacks_monitor', message, {
        hint: `as a superuser: GRANT pg_monitor TO ${name}`,
      }),
    )
  }
  return problems
}

/** A role's name as SQL takes it. */
export function roleInSql(role: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(role) ? role : `"${role.replaceAll('"', '""')}"`
}

/** @param walLevel the parameter `wal_level` */
export function walLevelProblems(walLevel: string): NexusError[] {
  if (walLevel !== 'minimal') return []
  const message = 'the server writes too little WAL for a backup: wal_level is minimal'
  return [
    new NexusError('refused', 'wal_level_minimal', message, { hint: 'set wal_level = replica and restart the server' }),
  ]
}

/**
 * One that is a directory in `pg_tblspc` itself is left out of every base backup in tar form, without a word (PostgreSQL
 * basebackup.c, sendDir). It comes of `allow_in_place_tablespaces`, or of a copy of the cluster that followed its links.
 */
export function tablespaceProblems(tablespaces: readonly { oid: number; path: string }[]): NexusError[] {
  const inside = tablespaces.find(({ path }) => !path.startsWith('/'))
  if (inside === undefined) return []
  const message = `the tablespace ${inside.oid} lies in the data directory itself (${inside.path}), and base backups leave it out`
  return [
    new NexusError('refused', 'tablespace_in_place', message, {
      hint: 'move what is in it to a tablespace with a directory of its own: ALTER TABLE … SET TABLESPACE, then DROP TABLESPACE',
    }),
  ]
}

/** A backup takes two connections of a kind of its own, and holds WAL by a slot. */
export function connectionProblems(limits: { walSenders: number; slots: number }): NexusError[] {
  const problems: NexusError[] = []
  if (limits.walSenders < 2) {
    const message = `max_wal_senders is ${limits.walSenders}, and a backup needs two`
    problems.push(
      new NexusError('failed', 'wal_senders_exhausted', message, {
        hint: 'set max_wal_senders = 10 and restart the server',
      }),
    )
  }
  if (limits.slots < 1) {
    problems.push(
      new NexusError('failed', 'slots_exhausted', 'max_replication_slots is 0, and a backup needs one', {
        hint: 'set max_replication_slots = 10 and restart the server',
      }),
    )
  }
  return problems
}
