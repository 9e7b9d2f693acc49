import { PassThrough, type Readable } from 'node:stream'
import { Archiver, type Format } from 'archiver'
import type { TreeEntry } from '../../image/tree/types.js'
import { CHUNK_BYTES } from './read-file.js'
import { tarEnd, tarHeader, tarPadding } from './tar-header.js'

/** Bytes that wait on the way, in the format and behind it. */
const HIGH_WATER_MARK = 2 * CHUNK_BYTES

/** An entry as the format takes it: its header, and the bytes of its content. */
interface TarData {
  header: Buffer
  size: number
}

/**
 * A tar archive whose headers are our own. archiver keeps the queue and the flow; the tar format that it brings
 * (tar-stream) takes names as text only, changes some of them, and has no extended attributes.
 */
export class TarArchive extends Archiver<TarData> {
  constructor() {
    super({ highWaterMark: HIGH_WATER_MARK })
    this._format = 'tar'
    this._module = new TarFormat({ highWaterMark: HIGH_WATER_MARK })
    this._modulePipe()
  }

  /**
   * Appends an entry, and emits `entry` once all of it is in the stream.
   *
   * @param source gives exactly `entry.size` bytes
   * @param mtime nanoseconds
   */
  add(source: Readable | Buffer, entry: TreeEntry, mtime: bigint): void {
    // archiver wants a name, and would change the real one. An error in the making of the header is the caller's here;
    // in archiver's queue it would end the process.
    this.append(source, { name: 'entry', header: tarHeader(entry, mtime), size: entry.size })
  }
}

class TarFormat extends PassThrough implements Format<TarData> {
  append(source: Readable | Buffer, { header, size }: TarData, callback: (error?: Error | null) => void): void {
    if (Buffer.isBuffer(source)) {
      this.write(Buffer.concat([header, source, tarPadding(size)]), callback)
      return
    }
    this.write(header)
    source.once('end', () => this.write(tarPadding(size), callback))
    source.pipe(this, { end: false })
  }

  finalize(): void {
    this.end(tarEnd())
  }
}
