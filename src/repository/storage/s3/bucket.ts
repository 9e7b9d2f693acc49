import { NexusError } from '../../../errors.js'
import { readAsOf } from './as-of.js'
import { type Connection, connect, type Sdk } from './client.js'
import { s3Fault } from './faults.js'
import type { RetryTiming } from './retries.js'
import { type Locking, type S3Settings, s3Location } from './settings.js'

/** The repository's part of a bucket: keys from names, requests with errors an operator can act on. */
export class Bucket {
  readonly settings: S3Settings
  readonly location: string
  /** How writers exclude each other here. */
  locking: Locking
  readonly #connection: Connection

  private constructor(settings: S3Settings, connection: Connection) {
    this.settings = settings
    this.location = s3Location(settings)
    this.locking = settings.locking ?? 'conditional'
    this.#connection = connection
  }

  /** @param isStopping asked before a request is tried again: who stops has little patience */
  static async open(settings: S3Settings, retries: RetryTiming, isStopping: () => boolean): Promise<Bucket> {
    const connection = await connect(settings, retries, isStopping)
    if (settings.asOf !== undefined) readAsOf(connection, settings, settings.asOf)
    return new Bucket(settings, connection)
  }

  /** The bucket's own name and a key, for a command. Throws `damage` for a name that would leave the repository. */
  at(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.settings.bucket, Key: this.keyOf(name) }
  }

  /** The key of a name; of a directory with its slash at the end. */
  keyOf(name: string): string {
    const segments = name.replace(/\/$/, '').split('/')
    const leaves =
      name !== '' && segments.some(part => part === '' || part === '.' || part === '..' || part.includes('\0'))
    if (leaves) throw new NexusError('damage', 'repository_name_invalid', 'a name in the repository would leave it')
    const { prefix } = this.settings
    return prefix === '' ? name : `${prefix}/${name}`
  }

  displayed(name: string): string {
    return name === '' ? this.location : `${this.location}/${name}`
  }

  /** The server's time; throws when it never answered with one. */
  serverNow(): Date {
    const now = this.#connection.serverNow()
    if (now !== undefined) return now
    throw new NexusError('failed', 'server_clock_missing', `the server of ${this.location} does not tell the time`, {
      hint: 'its answers have no Date header, without which leases cannot be dated: a proxy on the way may remove it',
    })
  }

  /** Runs a request; its failure becomes an error an operator can act on. */
  async request<T>(
    verb: string,
    name: string,
    work: (client: Connection['client'], sdk: Sdk) => Promise<T>,
  ): Promise<T> {
    try {
      return await work(this.#connection.client, this.#connection.sdk)
    } catch (error) {
      const { bucket, endpoint, forcePathStyle, storageClass, sse, objectLock } = this.settings
      const asked = { storage_class: storageClass, sse, object_lock: objectLock }
      throw s3Fault(error, {
        ...{ verb, path: this.displayed(name), location: this.location, bucket, server: endpoint ?? 'AWS' },
        virtualHost: endpoint !== undefined && forcePathStyle === false,
        special: Object.entries(asked).flatMap(([setting, value]) => (value === undefined ? [] : [setting])),
      })
    }
  }
}
