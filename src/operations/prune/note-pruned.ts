import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { Keyring } from '../../repository/keyring/keyring.js'
import { readPruneRecord, writePruneRecord } from '../../repository/prune-record.js'
import type { SourceRoom } from '../../repository/types.js'
import { type HostSigner, hostSigner } from '../sealing/host-keys.js'
import { register } from '../sealing/sealing-for.js'
import { keyringOf } from '../trust/keyring-of.js'
import { letIn } from '../trust/let-in.js'

/**
 * Writes down what this host removes from a source with encrypted backups, signed: other hosts that remember them must be
 * able to tell a prune from a deletion. Before the first removal it names all that is planned, for a prune may be killed;
 * afterwards what is gone indeed. A disk that is full, and a state directory without a key, stop no prune.
 */
export class PruneNotes {
  readonly #context: Context
  readonly #room: SourceRoom
  readonly #signer: HostSigner
  readonly #before: readonly string[]

  private constructor(context: Context, room: SourceRoom, signer: HostSigner, before: readonly string[]) {
    this.#context = context
    this.#room = room
    this.#signer = signer
    this.#before = before
  }

  /** Null where nothing is encrypted, and no host remembers anything. */
  static async begin(context: Context, room: SourceRoom, planned: readonly string[]): Promise<PruneNotes | null> {
    const { repository, name: source } = room
    const keyring = await keyringOf(context, repository)
    if (planned.length === 0 || (!keyring.isEncrypted && (await keyring.linesOf(source)).length === 0)) return null
    try {
      const signer = await hostSigner(context)
      const [listed, record] = await Promise.all([
        repository.storage.list(source),
        readPruneRecord(repository.storage, { repository: repository.id, source, signer: signer.id }),
      ])
      const present = new Set(listed.map(({ name }) => name))
      const before = (record?.pruned ?? []).filter(id => !present.has(id))
      const notes = new PruneNotes(context, room, signer, before)
      const epoch = keyring.own.at(-1)
      if (epoch !== undefined) await register(context, repository, signer, { epoch, keys: undefined })
      await notes.write(planned)
      if (!(await keyring.believes(signer.id, source))) context.warn(await unbelieved(keyring, room, signer))
      return notes
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      context.warn(unnoted(room, error))
      return null
    }
  }

  /** What this prune has removed; best told once more when it ends. */
  async write(removed: readonly string[]): Promise<void> {
    const { repository, name: source } = this.#room
    const pruned = [...this.#before, ...removed]
    const { host, now } = this.#context
    try {
      const record = { repository: repository.id, source, host, pruned, now: now() }
      await writePruneRecord(repository.storage, record, this.#signer)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      // A full disk is what prune frees; the second time it has room.
      if (error.code !== 'repository_full') this.#context.warn(unnoted(this.#room, error))
    }
  }
}

async function unbelieved(keyring: Keyring, { name, repository }: SourceRoom, { id }: HostSigner): Promise<string> {
  const { problem, remedy } = await letIn(keyring, repository, { signer: id, source: name, whose: 'this host' })
  return `${name}: other hosts that remember what this prune removes will miss it: it is signed with the key ${id}, ${problem}; ${remedy}`
}

function unnoted({ name }: SourceRoom, error: NexusError): string {
  return `${name}: other hosts that remember what this prune removes will miss it: ${messageOf(error)}`
}
