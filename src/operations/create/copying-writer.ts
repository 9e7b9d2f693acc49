import { open } from 'node:fs/promises'
import type { PartWriter } from '../../repository/storage/storage.js'

/** A part's writer beside which a copy is written. */
export interface CopyingWriter extends PartWriter {
  /** Closes the copy, whatever became of the part; may be called again. Node complains on stderr of files left open. */
  release(): Promise<void>
}

/** Keeps a copy of what is written, in a file that is not there yet. */
export function copyingWriter(writer: PartWriter, path: string): CopyingWriter {
  const opening = open(path, 'wx', 0o600)
  opening.catch(() => {})
  return {
    async write(bytes) {
      await (await opening).writeFile(bytes)
      await writer.write(bytes)
    },
    async close() {
      await (await opening).close()
      return writer.close()
    },
    async release() {
      const handle = await opening.catch(() => undefined)
      await handle?.close()
    },
  }
}
