import { relative, resolve } from 'node:path'
import { TAR_BLOCK, TarScanner } from './tar-scan.js'

/** Directories of a data directory that hold a cluster's content: files in them are never taken for logs. */
const content =
  /^(?:base|global|pg_(?:commit_ts|dynshmem|logical|multixact|notify|replslot|serial|snapshots|stat|stat_tmp|subtrans|tblspc|twophase|wal|xact))(?:\/|$)/

/**
 * Where in a data directory the server's logging collector writes; null where it writes elsewhere, or among the cluster's
 * own files.
 *
 * @param logDirectory the parameter `log_directory`
 */
export function logsWithin(dataDirectory: string, logDirectory: string): string | null {
  if (logDirectory === '') return null
  const name = relative(dataDirectory, resolve(dataDirectory, logDirectory))
  return name === '' || name === '..' || name.startsWith('../') || content.test(name) ? null : name
}

/**
 * Takes the files of one directory out of an archive; the directory itself stays, with those in it. Everything else keeps its
 * bytes.
 */
export class LogFilter {
  readonly #scanner = new TarScanner()
  readonly #below: string
  #count = 0

  constructor(directory: string) {
    this.#below = `${directory}/`
  }

  /** Files that were left out so far. */
  get leftOut(): number {
    return this.#count
  }

  /** What of the next bytes stays. @throws NexusError `tar_damaged` */
  push(chunk: Buffer): Buffer[] {
    const kept: Buffer[] = []
    for (const { kind, member, bytes } of this.#scanner.push(chunk)) {
      const isLog = member.type !== '5' && member.name.startsWith(this.#below)
      if (isLog) {
        if (kind === 'header') this.#count += 1
      } else if (bytes.length > 0) kept.push(bytes)
    }
    return adjoined(kept)
  }

  /** What ends the archive. */
  end(): Buffer {
    return Buffer.alloc(2 * TAR_BLOCK)
  }
}

/** Pieces that lie side by side in memory as one. */
function adjoined(pieces: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = []
  for (const piece of pieces) {
    const last = joined.at(-1)
    if (last !== undefined && last.buffer === piece.buffer && last.byteOffset + last.length === piece.byteOffset) {
      joined[joined.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + piece.length)
    } else joined.push(piece)
  }
  return joined
}
