import type { RecoveryCalls } from '../requests.js'
import { shellQuoted } from '../shell.js'

/** What a restore_command must name by absolute paths: the copy may run as another user, from anywhere. */
export interface RestoreCommand {
  /** Node's program. */
  node: string
  /** This program's script. */
  program: string
  /** Options that say where configuration, repository and key lie, with absolute paths. */
  flags: readonly string[]
  source: string
  /** Takes WAL that is not ours too. */
  untrusted?: boolean | undefined
}

/**
 * The restore_command of a restored copy, as a shell and PostgreSQL take it (design section 4): 5 is "not in the archive"
 * and lets recovery end there; everything else, Node's own crashes too, becomes 126 and stops it. Any status from 1 to 125
 * would end recovery early as if the log ended there (anchors/postgres.md 2.2). Not quoted for a configuration file.
 */
export function restoreCommand({ node, program, flags, source, untrusted = false }: RestoreCommand): string {
  const trust = untrusted ? ['--untrusted'] : []
  const words = [program, ...flags, 'pitr', 'fetch', ...trust, '--source', source].map(asInSettings)
  return `NEXUS_BACKUP_NODE=${asInSettings(node)} ${words.join(' ')} %f %p; r=$?; case $r in 0|5) exit $r;; *) exit 126;; esac`
}

/** PostgreSQL replaces %f, %p and %r, and takes %% for a percent sign. */
function asInSettings(word: string): string {
  return shellQuoted(word).replaceAll('%', '%%')
}

/** The same for how the command line says that this program is called. */
export function restoreCommandOf({ program, flags, untrusted }: RecoveryCalls, source: string): string {
  const [node = '', script = ''] = program
  return restoreCommand({ node, program: script, flags, source, untrusted })
}
