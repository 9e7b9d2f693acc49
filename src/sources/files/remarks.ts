import { shown } from '../../system/file-names.js'

/** So many of a kind are told one by one; of the others only how many there were. */
const TOLD = 20
/** More names of what is missing are not gathered. */
const NAMED = 10_000

/** So many mount points are named. */
const MOUNTS_NAMED = 200

/** What there is to say about a capture, gathered while it goes on. */
export interface Remarks {
  /** Something is missing in the backup or may be torn: the run ends with 3. */
  problem(message: string): void
  /** Like a problem: what lies at a real path is missing in the backup, or a directory's content is. */
  leftOut(location: string, message: string): void
  /** Like a problem, of a file whose times do not tell that what the backup holds of it is not its content. */
  filled(message: string): void
  /** Something was left out as it should be. */
  skipped(path: string): void
  /** What is mounted at a real path was left out, as it should be. */
  mounted(path: string): void
  /** What lies at a real path is missing in the backup, as it should be, and no directory's entry tells it. */
  unread(location: string): void
  /** A directory of this program's own was left out. */
  own(path: string, what: string): void
  /** Something to know of the whole backup, which is no problem of this run. */
  note(message: string): void
  /** All of it, bounded. */
  warnings(): string[]
  readonly incomplete: boolean
  /** Real paths that `leftOut` or `unread` told, as far as there is room for them. */
  readonly missing: ReadonlySet<string>
  /** Whether there was any that `filled` told. */
  readonly reread: boolean
}

export function newRemarks(): Remarks {
  const problems: string[] = []
  let problemCount = 0
  let skippedCount = 0
  let firstSkipped = ''
  const own: string[] = []
  const mounts: string[] = []
  const notes: string[] = []
  let reread = false
  const missing = new Set<string>()
  const problem = (message: string) => {
    problemCount += 1
    if (problems.length < TOLD) problems.push(message)
  }
  return {
    problem,
    leftOut(location, message) {
      if (missing.size < NAMED) missing.add(location)
      problem(message)
    },
    filled(message) {
      reread = true
      problem(message)
    },
    skipped(path) {
      if (skippedCount === 0) firstSkipped = path
      skippedCount += 1
    },
    mounted(path) {
      mounts.push(shown(path))
    },
    unread(location) {
      if (missing.size < NAMED) missing.add(location)
    },
    own(path, what) {
      if (own.length < TOLD) own.push(`left out: ${shown(path)} is ${what}`)
    },
    note(message) {
      notes.push(message)
    },
    warnings() {
      const more = problemCount - problems.length
      const skipped = `left out as no files: ${shown(firstSkipped)}${skippedCount > 1 ? ` and ${skippedCount - 1} more` : ''}`
      return [
        ...problems,
        ...(more > 0 ? [`and ${more} more problems of this kind`] : []),
        ...own,
        ...(mounts.length > 0 ? [`left out as other file systems: ${listed(mounts)}`] : []),
        ...notes,
        ...(skippedCount > 0 ? [`${skipped} (sockets, special file systems)`] : []),
      ]
    },
    get incomplete() {
      return problemCount > 0
    },
    missing,
    get reread() {
      return reread
    },
  }
}

function listed(names: readonly string[]): string {
  const more = names.length - MOUNTS_NAMED
  return `${names.slice(0, MOUNTS_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
