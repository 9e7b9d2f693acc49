import { errnoOf, NexusError } from '../../errors.js'

/** Whether an error says that something could not be read, which is not to say that it is damaged. */
export function unreadable(error: unknown): boolean {
  // In an archive class, of which verify asks for nothing: a thaw costs money.
  if (error instanceof NexusError && error.code === 'object_archived') return true
  const cause = error instanceof NexusError ? error.cause : error
  return ['EACCES', 'EPERM', 'EIO'].includes(errnoOf(cause) ?? '')
}
