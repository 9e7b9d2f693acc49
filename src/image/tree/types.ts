/** What a tree image consists of besides the bytes of its files: one line of `tree.jsonl.zst` each. */
export interface TreeEntry {
  /** Relative, `/` between the parts, no `.` and no `..`; bytes that are not UTF-8 as `system/file-names.ts` has them. */
  path: string
  /** `hardlink`: another name of anything but a directory that comes earlier in the image. */
  type: 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'character-device' | 'block-device'
  /** Permission bits with set-user-id, set-group-id and sticky. */
  mode: number
  uid: number
  gid: number
  /** Names of owner and group where they were captured; empty when unknown. */
  owner: string
  group: string
  /** Seconds since 1970 with a fraction. */
  mtime: number
  /** Bytes; 0 for all but files. */
  size: number
  /** Target of a symbolic link as it is written; path of what a hard link names; empty for the rest. */
  link: string
  /** Of a device and nothing else. */
  device?: Device
  /** Extended attributes of a file or directory by name, in base64; ACLs are among them as the kernel has them. */
  attributes?: Readonly<Record<string, string>>
  /** Had holes: blocks of zeros become holes again. */
  sparse: boolean
  /**
   * Only for files: position, among the *files* of the parent's image, of the file whose blocks this one is compared
   * with; null for none (always in a full). Correct whatever it says, for digests decide; a good guess saves bytes.
   */
  base: number | null
  /** What the source wants to know again (inode, ctime …); the engine does not look into it. */
  facts: Record<string, unknown>
}

/** Numbers that name a device (makedev(3)). */
export interface Device {
  major: number
  minor: number
}

/** A file that is known to be unchanged without reading: its blocks are those of `base` in the parent's image. */
export interface CarriedFile {
  entry: TreeEntry & { type: 'file'; base: number }
}

/** What a tree source gives to the engine. */
export interface TreeInput {
  /** Bytes of a block. */
  blockSize: number
  /** Files not to be read, gone through once. Only where there is a parent; a full has none. */
  carried: Iterable<CarriedFile>
  /** A tar archive: everything else, and in a full everything. */
  tar: AsyncIterable<Uint8Array>
  /**
   * Asked at each header of the archive, before the content: completes what a tar header cannot say. The size must stay
   * that of the header. `base` comes set to the parent's file of the same path; a base that an earlier file has taken
   * already is dropped. `null` leaves an entry out of the tree (its bytes still stand in the archive).
   */
  describe(entry: TreeEntry): TreeEntry | null
}
