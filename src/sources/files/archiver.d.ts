/** What this source uses of archiver 8, which comes without types. */
declare module 'archiver' {
  import type { Readable, Transform } from 'node:stream'

  export interface TarEntryData {
    name: string
    type: 'file' | 'directory' | 'symlink' | 'link'
    date: Date
    /** A string passes for one of zero, which tar-stream would take for left out. */
    mode: number | string
    uid: number
    gid: number
    uname?: string
    gname?: string
    linkname?: string
    /** Records of an extended header, which win over the header's own fields. */
    pax?: Record<string, string>
    /** Needed for a stream: its size, without which archiver gathers the whole of it in memory. */
    stats?: { size: number }
  }

  export class TarArchive extends Transform {
    constructor(options?: { highWaterMark?: number })
    append(source: Readable | Buffer, data: TarEntryData): this
    finalize(): Promise<void>
    /** Takes nothing more from its queue. */
    abort(): this
  }
}
