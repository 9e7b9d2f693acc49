import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chownSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { giveNewIdentity } from './cluster-copy.js'
import { onceARun } from './once-a-run.js'

/** One command a line, for a server in single-user mode. */
const TEMPLATES_AWAY = `UPDATE pg_database SET datistemplate = false
DROP DATABASE template1
DROP DATABASE template0
`

export interface NewCluster {
  /** The arguments of initdb, but for the directory. */
  initdb: readonly string[]
  /** Whether it has no database but `postgres`. */
  withoutTemplates: boolean
  /** Directory of PostgreSQL's programs. */
  bin: string
  /** The server's user. */
  owner: { uid: number; gid: number }
}

/**
 * A cluster as initdb makes it, stopped: the copy of one that is made once a run, with a system identifier of its own.
 *
 * @param directory is made
 */
export async function newCluster(directory: string, wanted: NewCluster): Promise<void> {
  const { initdb, withoutTemplates, bin, owner } = wanted
  const key = createHash('sha256')
    .update(JSON.stringify([initdb, withoutTemplates, bin]))
    .digest('hex')
    .slice(0, 16)
  const model = await onceARun(`cluster-${key}`, async room => {
    if (process.getuid?.() === 0) chownSync(room, owner.uid, owner.gid)
    const made = join(room, 'data')
    const as = {
      ...(process.getuid?.() === 0 ? owner : {}),
      cwd: room,
      env: { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8', TZ: 'UTC', HOME: room },
      extendEnv: false,
    }
    await execa(join(bin, 'initdb'), ['-D', made, ...initdb], as)
    if (withoutTemplates) {
      await execa(join(bin, 'postgres'), ['--single', '-F', '-D', made, 'postgres'], { ...as, input: TEMPLATES_AWAY })
    }
    return made
  })
  execFileSync('cp', ['-a', model, directory])
  giveNewIdentity(directory)
}
