import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import type { Claim } from '../../repository/types.js'
import { probeFiles } from '../../sources/files/probe.js'
import { type KnownCluster, lookAtCluster } from '../../sources/postgres/capture.js'
import { probeSqlite } from '../../sources/sqlite/probe.js'
import type { SourceIdentity } from './create-plan.js'

/** What is known of a source before anything is done for it. */
export interface ProbedSource {
  claim: Claim
  identity: SourceIdentity
  /** Bytes, as far as can be told without reading. */
  size: number
  /** Bytes of a block. */
  blockSize: number
  /** Bytes that a copy takes on the repository's disk while the backup is made. */
  staged: number
  /** Only of a cluster: what the server said, so that it is not asked twice. */
  known?: KnownCluster
}

/** Looks at a source. @throws NexusError for whatever create would refuse */
export async function probeSource(context: Context, source: SourceSettings): Promise<ProbedSource> {
  const { host } = context
  switch (source.kind) {
    case 'sqlite': {
      const { path, size, staged, device, inode, page_size } = probeSqlite(source.path)
      const claim = { kind: source.kind, host, path, system_identifier: null }
      const identity = { kind: source.kind, device, inode, page_size }
      return { claim, identity, size, blockSize: page_size, staged: staged ? size : 0 }
    }
    case 'postgres': {
      const known = await lookAtCluster(source, context)
      const { systemIdentifier, estimatedBytes: size, tablespaces } = known.cluster
      const staged = tablespaces.length > 0 ? size : 0
      const claim = { kind: source.kind, host, path: null, system_identifier: systemIdentifier }
      const identity = { kind: source.kind, system_identifier: systemIdentifier }
      return { claim, identity, size, blockSize: 8192, staged, known }
    }
    case 'files': {
      // Further roots may come and go; the first one is whose the name is.
      const { size } = await probeFiles(source, context)
      const claim = { kind: source.kind, host, path: source.paths[0] ?? null, system_identifier: null }
      return { claim, identity: { kind: source.kind }, size, blockSize: 131072, staged: 0 }
    }
  }
}
