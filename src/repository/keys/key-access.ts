import type { EpochPrivate } from '../../keys/epoch-keys.js'
import type { KeyTools, RecipientSettings } from '../../keys/recipient.js'
import type { KeyReader } from './key-layout.js'

/** Files are tried before programs, and passphrases last: they take the longest. */
const costs = { 'key-file': 0, 'aws-kms': 1, gpg: 2, passphrase: 3 }

/**
 * Opens the private halves of epochs with the means that configuration, flags and environment name, each once in a run:
 * a chain of a hundred backups costs one unwrapping. What it takes is loaded when something sealed is met.
 */
export class KeyAccess {
  /** What may open something here. */
  readonly means: readonly RecipientSettings[]
  readonly tools: KeyTools
  /** By public key: a repository's copies share epochs. */
  readonly #opened = new Map<string, Promise<EpochPrivate>>()
  /** By place and id, so that a chain does not read the same documents again and again. */
  readonly #asked = new Map<string, Promise<EpochPrivate>>()

  /** @param means who we may be, in no order */
  constructor(means: readonly RecipientSettings[], tools: KeyTools) {
    this.means = [...means].sort((a, b) => costs[a.kind] - costs[b.kind])
    this.tools = tools
  }

  /** An epoch's private half, for one that was just made here. */
  remember(keys: EpochPrivate): void {
    this.#opened.set(keys.sealing.toString('base64'), Promise.resolve(keys))
  }

  /**
   * The private half of an epoch.
   * @throws NexusError refused `key_missing` when no means are known, `key_wrong` when none of them opens it; damage
   */
  open(storage: KeyReader, id: string): Promise<EpochPrivate> {
    const name = `${storage.location} ${id}`
    const asked = this.#asked.get(name) ?? this.#open(storage, id)
    // A failure is kept too: a wrong passphrase is tried once, not once for each backup.
    this.#asked.set(name, asked)
    return asked
  }

  async #open(storage: KeyReader, id: string): Promise<EpochPrivate> {
    const { findEpoch, unwrapEpoch } = await import('./unwrap.js')
    const { epoch, epochs } = await findEpoch(storage, id)
    const name = epoch.sealing_key.toString('base64')
    const known = this.#opened.get(name)
    if (known !== undefined) return known
    const opening = unwrapEpoch(storage, epoch, epochs, {
      means: this.means,
      tools: this.tools,
      hasMeans: this.means.some(means => means.kind !== 'passphrase' || means.passphrase.from !== 'terminal'),
      known: async key => this.#opened.get(key)?.catch(() => undefined),
    })
    this.#opened.set(name, opening)
    return opening
  }
}
