import { errnoOf, NexusError } from '../../errors.js'

/** Whether an error says that something could not be read, which is not to say that it is damaged. */
export function unreadable(error: unknown): boolean {
  const cause = error instanceof NexusError ? error.cause : error
  return ['EACCES', 'EPERM', 'EIO'].includes(errnoOf(cause) ?? '')
}
