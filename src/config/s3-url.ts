import * as v from 'valibot'
import { NexusError } from '../errors.js'
import type { RepositoryPlace } from '../repository/storage/place.js'
import { type S3Settings, s3Location } from '../repository/storage/s3/settings.js'
import { bucketName, bucketPrefix, endpointUrl } from './schema-s3.js'

/** What AWS's own programs take from the environment, too. */
export interface S3Environment {
  AWS_ENDPOINT_URL_S3?: string | undefined
  AWS_ENDPOINT_URL?: string | undefined
  AWS_CA_BUNDLE?: string | undefined
}

/** `s3://BUCKET/PREFIX` as a place. Throws `usage` when it is none. */
export function placeFromUrl(url: string): RepositoryPlace & { s3: S3Settings } {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]*)(.*)$/i.exec(url) ?? []
  const settings = v.safeParse(v.object({ bucket: bucketName, prefix: bucketPrefix }), { bucket, prefix })
  if (settings.success) return s3Place(settings.output)
  throw new NexusError('usage', 'repository_invalid', `repository ${url}: ${settings.issues[0].message}`, {
    hint: 'give a bucket and a prefix: --repo s3://my-bucket/backups',
  })
}

export function s3Place(settings: S3Settings): RepositoryPlace & { s3: S3Settings } {
  return { path: s3Location(settings), s3: settings }
}

/**
 * A place with what the environment says of the server, where the configuration says nothing.
 * @throws NexusError usage for an endpoint that is no URL
 */
export function inEnvironment<P extends RepositoryPlace>(place: P, env: S3Environment): P {
  if (place.s3 === undefined || place.s3.endpoint !== undefined) return place
  const asked = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL
  if (!asked) return place
  const endpoint = v.safeParse(endpointUrl, asked)
  if (!endpoint.success) {
    throw new NexusError('usage', 'endpoint_invalid', `AWS_ENDPOINT_URL_S3 ${endpoint.issues[0].message}`)
  }
  const caFile = env.AWS_CA_BUNDLE ? { caFile: env.AWS_CA_BUNDLE } : {}
  return { ...place, s3: { ...caFile, ...place.s3, endpoint: endpoint.output } }
}
