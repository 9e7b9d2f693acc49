import { createHash } from 'node:crypto'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { SourceRoom } from '../../repository/types.js'
import type { VerifiedBackup } from '../results.js'
import { type OpenedBackup, openBackup } from '../sealing/open-backup.js'

type Finding = VerifiedBackup['findings'][number]

const READ_BYTES = 1024 * 1024

/** Opens a backup, or tells why no key here does. @throws NexusError damage when it is not what was sealed */
export async function openForVerify(
  context: Context,
  room: SourceRoom,
  manifest: Manifest,
): Promise<OpenedBackup | { why: string }> {
  try {
    return await openBackup(context, room.repository, manifest)
  } catch (error) {
    if (!(error instanceof NexusError) || (error.code !== 'key_missing' && error.code !== 'key_wrong')) throw error
    return { why: error.message }
  }
}

/** Compares what is stored of each part with the manifest; needs no key. */
export async function checkStored(context: Context, room: SourceRoom, manifest: Manifest): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const { name, bytes, sha256 } of manifest.parts) {
    context.signal.throwIfAborted()
    try {
      const actual = await measure(room, manifest.id, name)
      if (actual.bytes !== bytes)
        findings.push({ part: name, problem: `has ${actual.bytes} bytes instead of ${bytes}` })
      if (actual.sha256 !== sha256) findings.push({ part: name, problem: 'SHA-256 differs from the one recorded' })
    } catch (error) {
      if (!(error instanceof NexusError) || (error.kind !== 'not-found' && error.kind !== 'damage')) throw error
      findings.push({ part: name, problem: error.kind === 'not-found' ? 'is missing' : messageOf(error) })
    }
  }
  return findings
}

async function measure(room: SourceRoom, id: string, name: string): Promise<{ bytes: number; sha256: string }> {
  const reader = await room.openPart(id, name)
  try {
    const hash = createHash('sha256')
    for (;;) {
      const bytes = await reader.read(READ_BYTES)
      if (bytes.length === 0) return { bytes: reader.size, sha256: hash.digest('hex') }
      hash.update(bytes)
    }
  } finally {
    await reader.close()
  }
}
