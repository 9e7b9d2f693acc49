import type { Context } from '../../context.js'
import type { Manifest } from '../../repository/manifest.js'
import { baseFacts, majorOf } from './base-facts.js'
import type { LoadedSystem } from './load-systems.js'
import type { ClusterBase } from './systems.js'
import { openWalIndex } from './wal-index.js'
import { scanWal, type WalScan } from './wal-scan.js'

/** One scan for each system, so that a segment is read once in a run. */
export interface WalScans {
  of(system: LoadedSystem, base: ClusterBase): Promise<WalScan>
  /** Remembers what was read; to be called however the work ends. */
  save(): Promise<void>
}

export function openScans(context: Context): WalScans {
  const open = new Map<LoadedSystem, Promise<WalScan>>()
  const begin = async (system: LoadedSystem, base: ClusterBase) => {
    const { source, identifier, room } = system
    const place = { repository: room.repository.id, source, system: identifier }
    const major = majorOf(baseFacts(manifestOf(system, base)))
    return scanWal(context, system, { major, index: await openWalIndex(context, place) })
  }
  return {
    of(system, base) {
      const scan = open.get(system) ?? begin(system, base)
      open.set(system, scan)
      return scan
    },
    async save() {
      for (const scan of open.values()) await (await scan).save()
    },
  }
}

/** The manifest of a base. */
export function manifestOf({ survey }: LoadedSystem, { id }: ClusterBase): Manifest {
  const manifest = survey.manifests.find(member => member.id === id)
  if (manifest === undefined) throw new Error(`${id} has no manifest`)
  return manifest
}
