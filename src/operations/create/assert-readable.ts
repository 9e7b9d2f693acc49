import type { SourceSettings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { isArchiveClass } from '../../repository/storage/s3/settings.js'

/**
 * `create --verify` reads back what it wrote, which an archive class only allows hours after a thaw was asked for.
 * @throws NexusError usage `archive_unreadable` when a source goes to such a repository: nothing was begun
 */
export function assertReadable(sources: readonly SourceSettings[]): void {
  const into = sources.find(({ repository }) => isArchiveClass(repository.s3?.storageClass))
  if (into === undefined) return
  const { path, s3 } = into.repository
  const message = `--verify cannot read back what ${into.name} stores in ${path}: it lies in ${s3?.storageClass}, which must be thawed first`
  throw new NexusError('usage', 'archive_unreadable', message, {
    hint: 'run it without --verify: the server compares each upload with its checksum; to read backups back, keep them in a repository of another class, and name this one in its copies',
  })
}
