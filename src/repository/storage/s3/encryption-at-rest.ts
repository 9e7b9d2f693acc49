import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'

/** What a request that writes says of encryption at rest. */
export function encryptionOf({ settings: { sse, kmsKeyId } }: Bucket): Partial<PutObjectCommandInput> {
  if (sse === undefined) return {}
  return { ServerSideEncryption: sse, ...(kmsKeyId === undefined ? {} : { SSEKMSKeyId: kmsKeyId }) }
}

/**
 * Asks the server how an object is encrypted: a 200 proves nothing (Ceph 16 accepts AES256 and drops it silently,
 * anchors/s3-server.md note 8).
 * @throws NexusError failed `encryption_not_applied`
 */
export async function assertEncrypted(bucket: Bucket, name: string): Promise<void> {
  const { sse } = bucket.settings
  if (sse === undefined) return
  const { ServerSideEncryption: applied } = await bucket.request('looking at', name, (client, sdk) =>
    client.send(new sdk.HeadObjectCommand(bucket.at(name))),
  )
  if (applied === sse) return
  throw new NexusError(
    'failed',
    'encryption_not_applied',
    `${bucket.displayed(name)} was to be encrypted at rest with ${sse}; the server says ${applied ?? 'that it is not'}`,
    { hint: 'give the server a key service, or leave sse out of the configuration' },
  )
}
