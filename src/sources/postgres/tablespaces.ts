import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import { renamedHeader, tarHeader } from './tar-header.js'
import { paddingOf, TAR_BLOCK, type TarMember, TarScanner } from './tar-scan.js'

const READ_BYTES = 1024 * 1024
const LINKS = 'pg_tblspc'

/**
 * One archive of what `pg_basebackup` wrote into a directory for a cluster with tablespaces: `base.tar`, `OID.tar` each
 * and the manifest. A tablespace becomes the ordinary directory `pg_tblspc/OID`, as the manifest names its files. The
 * tablespaces come first, so that `global/pg_control` still comes after all data: a copy cut off while it is unpacked
 * does not start.
 *
 * @throws NexusError `tar_damaged` when an archive is cut off
 */
export async function* joinTablespaces(directory: string): AsyncGenerator<Buffer> {
  const owner = await firstMember(join(directory, 'base.tar'))
  yield directoryHeader(LINKS, owner)
  for (const oid of tablespaceArchives(directory)) {
    yield directoryHeader(`${LINKS}/${oid}`, owner)
    yield* members(join(directory, `${oid}.tar`), ({ name }) => `${LINKS}/${oid}/${name}`)
  }
  yield* members(join(directory, 'base.tar'), ({ name, type }) => {
    const link = type === '2' && name.startsWith(`${LINKS}/`)
    return link || name === LINKS ? null : name
  })
  yield* manifest(directory, owner)
  yield Buffer.alloc(2 * TAR_BLOCK)
}

function tablespaceArchives(directory: string): string[] {
  const names = readdirSync(directory).flatMap(name => /^(\d+)\.tar$/.exec(name)?.[1] ?? [])
  return names.sort((a, b) => Number(a) - Number(b))
}

/** The members of an archive without its end; those that `rename` gives null are left out. */
async function* members(path: string, rename: (member: TarMember) => string | null): AsyncGenerator<Buffer> {
  const scanner = new TarScanner()
  let kept = true
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
    for (const piece of scanner.push(chunk)) {
      if (piece.kind === 'header') {
        const name = rename(piece.member)
        kept = name !== null
        if (name !== null) yield name === piece.member.name ? piece.bytes : renamedHeader(piece.bytes, name)
      } else if (kept) yield piece.bytes
    }
  }
  if (!scanner.ended) throw cutOff(path)
}

async function firstMember(path: string): Promise<TarMember> {
  const scanner = new TarScanner()
  for await (const chunk of createReadStream(path, { end: TAR_BLOCK - 1 })) {
    for (const { member } of scanner.push(chunk)) return member
  }
  throw cutOff(path)
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

function cutOff(path: string): NexusError {
  return new NexusError('failed', 'tar_damaged', `the staged archive ${path} is cut off`, { hint: 'run it again' })
}
