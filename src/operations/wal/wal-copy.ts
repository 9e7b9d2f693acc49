import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { epochFile } from '../../repository/keys/key-layout.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { parseWalHeader } from '../../repository/wal/wal-file.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'
import { copyKeys, inPlain } from '../copy/copy-keys.js'
import { assertAnother, claimTarget, openTarget, sealsInto } from '../copy/copy-source.js'

/** The WAL of one system in a copy, which takes files as they are stored in the repository that is archived to. */
export class WalCopy {
  readonly repository: RepositorySettings
  readonly #context: Context
  readonly #origin: SourceRoom
  readonly #from: WalArchive
  #opened: Promise<Opened> | undefined
  /** Epochs that are known to be there. */
  readonly #epochs = new Set<string>()

  constructor(context: Context, origin: SourceRoom, from: WalArchive, repository: RepositorySettings) {
    this.#context = context
    this.#origin = origin
    this.#from = from
    this.repository = repository
  }

  /**
   * Copies a file that is archived; durable when this returns. Takes no lock, as archiving does.
   *
   * @throws NexusError `repository_missing`, `source_claimed`, `same_repository`, `copy_unencrypted`, `wal_differs`, and what
   *   reading and writing throw
   */
  async put(name: string): Promise<void> {
    const { target, to, sealed } = await this.#open()
    const bytes = await this.#from.storedFile(name)
    const { systemIdentifier } = this.#from
    const { encryption } = parseWalHeader(bytes, name, { name, systemIdentifier }).header
    if (sealed && encryption === undefined && parseWalName(name)?.kind !== 'history') {
      throw inPlain(name, 'the log', this.repository.path)
    }
    if (encryption !== undefined) await this.#bringKeys(target, encryption.epoch)
    await to.putStoredFile(name, bytes)
  }

  /** Names of the files of a timeline that the copy has. */
  async names(timeline: number): Promise<string[]> {
    return (await this.#open()).to.names(timeline)
  }

  /** Where a file lies that this process has copied; undefined on an object store. */
  async localPath(name: string): Promise<string | undefined> {
    return (await this.#open()).to.localPath(name)
  }

  #open(): Promise<Opened> {
    this.#opened ??= this.#openTarget()
    return this.#opened
  }

  async #openTarget(): Promise<Opened> {
    const { name: source } = this.#origin
    const repository = await openTarget({ source, to: this.repository })
    assertAnother(this.#origin.repository, repository)
    const target = repository.source(source)
    await claimTarget(this.#context, { origin: this.#origin, target }, await target.claim())
    const sealed = await sealsInto({ to: this.repository }, target)
    return { target, to: target.wal(this.#from.systemIdentifier), sealed }
  }

  /** What opens the file goes first: a copy that nobody can open is none. */
  async #bringKeys({ repository }: SourceRoom, epoch: string): Promise<void> {
    if (this.#epochs.has(epoch)) return
    if (!(await isThere(repository.storage.sizeOf(epochFile(epoch))))) {
      await copyKeys(this.#context, this.#origin.repository, repository)
    }
    this.#epochs.add(epoch)
  }
}

interface Opened {
  target: SourceRoom
  to: WalArchive
  /** Nothing but histories may be stored there in plain. */
  sealed: boolean
}

async function isThere(asking: Promise<unknown>): Promise<boolean> {
  try {
    await asking
    return true
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return false
    throw error
  }
}
