import { nativeExtensions } from './native-extensions.js'

/** Byte-range locks that belong to an open file and not to a process (F_OFD_SETLK, fcntl_locking(2)). */
export interface FileLocks {
  /**
   * Locks bytes of an open file. False when somebody else holds them, in this process or another one.
   * @throws an error with the system's `code`
   */
  tryLock(fd: number, range: { offset: number; length: number }, mode: 'shared' | 'exclusive'): boolean
}

/**
 * The locks of open files, or null where there is no binary for this machine.
 *
 * A lock of this kind lasts until the last descriptor of its own open file is closed. A POSIX lock, which SQLite takes,
 * ends as soon as anything in the process closes any other descriptor of that file. Both kinds exclude each other.
 */
export function fileLocks(): FileLocks | null {
  const binding = nativeExtensions()
  if (binding === null) return null
  return {
    tryLock(fd, { offset, length }, mode) {
      try {
        binding.tryLock(fd, offset, length, mode === 'exclusive')
        return true
      } catch (error) {
        const code = error instanceof Error ? (error as { code?: unknown }).code : undefined
        if (code === 'EAGAIN' || code === 'EACCES') return false
        throw error
      }
    },
  }
}
