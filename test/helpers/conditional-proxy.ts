import { HeadObjectCommand } from '@aws-sdk/client-s3'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { type FaultProxy, faultProxy } from './fault-proxy.js'
import type { S3Server } from './s3-server.js'

/**
 * Ceph 16 forgets If-None-Match where a bucket has versions, which object lock needs; later servers and AWS do not. Here
 * the proxy looks whether the object is there. Everything about locks is the server's own.
 */
export async function conditionalProxy(
  { endpoint, client }: S3Server,
  { bucket }: Pick<S3Settings, 'bucket'>,
): Promise<FaultProxy> {
  const proxy = await faultProxy(endpoint)
  proxy.rule = async (_, what, isConditional) => {
    if (!isConditional) return undefined
    const Key = decodeURIComponent(new URL(what.slice('PUT '.length), 'http://x').pathname.slice(bucket.length + 2))
    const found = await client.send(new HeadObjectCommand({ Bucket: bucket, Key })).catch(() => undefined)
    return found === undefined ? undefined : '412'
  }
  return proxy
}
