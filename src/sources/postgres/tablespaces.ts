import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import type { PipedArchive } from './archive-pipes.js'
import { renamedHeader, tarHeader } from './tar-header.js'
import { paddingOf, TAR_BLOCK, type TarMember, TarScanner } from './tar-scan.js'

const READ_BYTES = 1024 * 1024
const LINKS = 'pg_tblspc'
/** Of the cluster itself. */
const BASE = 'base'

/** What `pg_basebackup` writes for a cluster with tablespaces. */
export interface TablespaceArchives {
  archives: AsyncIterable<PipedArchive>
  /** Where the program puts its manifest, and the archive of a tablespace that nobody knew of. */
  directory: string
  /** Returns when the program has ended. @throws NexusError with the reason why it failed */
  ended(): Promise<void>
}

/**
 * One archive of those that `pg_basebackup` writes for a cluster with tablespaces: `base.tar`, `OID.tar` each and the
 * manifest. A tablespace becomes the ordinary directory `pg_tblspc/OID`, as the manifest names its files. The server sends
 * the tablespaces first, so `global/pg_control` comes after all data: a copy cut off while it is unpacked does not start.
 *
 * @throws NexusError `tar_damaged` when an archive is cut off, `tablespace_added`, and as `ended` does
 */
export async function* joinTablespaces({ archives, directory, ended }: TablespaceArchives): AsyncGenerator<Buffer> {
  const joined = new JoinedArchive()
  for await (const { name, chunks } of archives) {
    const scanner = new TarScanner()
    for await (const chunk of chunks) {
      yield* name === BASE ? joined.ofBase(scanner, chunk) : joined.ofTablespace(scanner, chunk, name)
      if (scanner.ended) break
    }
    if (scanner.ended) continue
    // Why the program failed says more than an archive cut off.
    await ended()
    throw cutOff(name)
  }
  await ended()
  const { owner } = joined
  if (owner === null) throw cutOff(BASE)
  assertNoOther(directory)
  yield* manifest(directory, owner)
  yield Buffer.alloc(2 * TAR_BLOCK)
}

class JoinedArchive {
  /** Of the first member: of the server's user. */
  owner: TarMember | null = null
  /** Directories that were made. */
  readonly #made = new Set<string>()

  ofTablespace(scanner: TarScanner, chunk: Buffer, oid: string): Generator<Buffer> {
    return this.#members(scanner, chunk, {
      rename: ({ name }) => `${LINKS}/${oid}/${name}`,
      directories: [LINKS, `${LINKS}/${oid}`],
    })
  }

  ofBase(scanner: TarScanner, chunk: Buffer): Generator<Buffer> {
    return this.#members(scanner, chunk, {
      rename({ name, type }) {
        const link = type === '2' && name.startsWith(`${LINKS}/`)
        return link || name === LINKS ? null : name
      },
      directories: [LINKS],
    })
  }

  /** The members of an archive without its end; those that `rename` gives null are left out. */
  *#members(
    scanner: TarScanner,
    chunk: Buffer,
    { rename, directories }: { rename: (member: TarMember) => string | null; directories: readonly string[] },
  ): Generator<Buffer> {
    for (const { kind, member, bytes } of scanner.push(chunk)) {
      this.owner ??= member
      for (const name of directories) {
        if (this.#made.has(name)) continue
        this.#made.add(name)
        yield directoryHeader(name, this.owner)
      }
      const name = rename(member)
      if (name === null) continue
      yield kind === 'header' && name !== member.name ? renamedHeader(bytes, name) : bytes
    }
  }
}

/** A tablespace that was created when the backup had begun has no pipe: its archive lies there as a file. */
function assertNoOther(directory: string): void {
  const other = readdirSync(directory, { withFileTypes: true }).find(
    entry => entry.isFile() && /^\d+\.tar$/.test(entry.name),
  )
  if (other === undefined) return
  throw new NexusError('failed', 'tablespace_added', 'a tablespace was created while the backup was made', {
    hint: 'run it again',
  })
}

/** After a checksum failure pg_basebackup leaves the manifest under its temporary name (reproduced with 15). */
async function* manifest(directory: string, owner: TarMember): AsyncGenerator<Buffer> {
  const final = join(directory, 'backup_manifest')
  const path = existsSync(final) ? final : `${final}.tmp`
  const { size } = statSync(path)
  const { uid, gid, mtime } = owner
  yield tarHeader({ name: 'backup_manifest', type: '0', mode: 0o600, uid, gid, mtime, size })
  yield* createReadStream(path, { highWaterMark: READ_BYTES })
  yield Buffer.alloc(paddingOf(size))
}

function directoryHeader(name: string, { uid, gid, mtime }: TarMember): Buffer {
  return tarHeader({ name, type: '5', mode: 0o700, uid, gid, mtime, size: 0 })
}

function cutOff(name: string): NexusError {
  return new NexusError('failed', 'tar_damaged', `the archive ${name}.tar of pg_basebackup is cut off`, {
    hint: 'run it again',
  })
}
