/** What this source uses of archiver 8, which comes without types. */
declare module 'archiver' {
  import type { Readable, Transform } from 'node:stream'

  /** Turns the entries of an archive into its bytes, one at a time. */
  export interface Format<Data> extends Readable {
    /** Writes one entry; calls back when it can take the next. */
    append(source: Readable | Buffer, data: Data, callback: (error?: Error | null) => void): void
    /** Writes the end of the archive. */
    finalize(): void
  }

  /** A queue of entries in front of a format. `Data` reaches the format as it is, with fields of archiver's own added. */
  export class Archiver<Data> extends Transform {
    constructor(options?: { highWaterMark?: number })
    protected _format: string
    protected _module: Format<Data>
    protected _modulePipe(): void
    append(source: Readable | Buffer, data: Data & { name: string }): this
    finalize(): Promise<void>
    /** Takes nothing more from its queue. */
    abort(): this
  }
}
