import { messageOf, NexusError } from '../../../errors.js'

/** What was being done when the store said no, for the message. */
export interface S3Doing {
  /** `writing`, `reading`, `removing` … */
  verb: string
  /** `s3://BUCKET/KEY`, as the operator knows it. */
  path: string
  /** The repository's URL. */
  location: string
  bucket: string
  /** The server: the configured endpoint, or `AWS`. */
  server: string
  /** Whether the bucket is named in the host (`bucket.server`) at an endpoint that is configured. */
  virtualHost?: boolean
  /** Settings of which not every server knows what they ask for, as the configuration has them: `storage_class`. */
  special?: readonly string[]
}

interface Known {
  name: string
  code: string
  status: number | undefined
  message: string
}

type Fault = readonly [code: string, why: string, hint: string]

/** The error an operator sees for a failed request: the one place that decides it. */
export function s3Fault(error: unknown, doing: S3Doing): unknown {
  if (error instanceof NexusError) return error
  const known = knownOf(error)
  if (
    known.name === 'NoSuchKey' ||
    (known.status === 404 && known.name !== 'NoSuchBucket' && known.name !== 'NoSuchUpload')
  ) {
    return new NexusError('not-found', 'not_in_repository', `${doing.path} does not exist`, { cause: error })
  }
  if (known.name === 'InvalidObjectState') return archived(error, doing)
  const [code, why, hint] =
    requestFault(known, doing) ?? networkFault(known, doing) ?? certificateFault(known, doing) ?? unknown(known)
  return new NexusError('failed', code, `${doing.verb} ${doing.path} failed: ${why}`, { cause: error, hint })
}

/** What the server answered. */
function requestFault({ name, status }: Known, doing: S3Doing): Fault | undefined {
  const { bucket, server, special = [] } = doing
  switch (name) {
    case 'NoSuchBucket':
      return [
        'bucket_missing',
        `there is no bucket ${bucket} at ${server}`,
        'check the name, the region and the endpoint; nexus-backup never makes a bucket',
      ]
    case 'InvalidAccessKeyId':
      return [
        'credentials_refused',
        `${server} does not know the access key`,
        'check AWS_ACCESS_KEY_ID or the profile, and that the endpoint is the one the key belongs to',
      ]
    case 'SignatureDoesNotMatch':
      return [
        'credentials_refused',
        'the secret key does not belong to the access key',
        'check AWS_SECRET_ACCESS_KEY or the profile, also for spaces at its end',
      ]
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
      return [
        'credentials_expired',
        'the credentials have expired',
        'get new ones (aws sso login, or whatever issues them here) and run the command again',
      ]
    case 'CredentialsProviderError':
      return [
        'credentials_missing',
        'no credentials were found',
        'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or name a profile in the configuration; sudo and cron drop the environment',
      ]
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
    case 'RequestInTheFuture':
      return [
        'clock_skewed',
        "this machine's clock is too far from the server's",
        'set it right: timedatectl set-ntp true',
      ]
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return [
        'region_wrong',
        `bucket ${bucket} lies in another region`,
        'name it with region in the configuration, or with AWS_REGION',
      ]
    case 'SecondLevelDomainForbidden':
    case 'VirtualHostDomainRequired':
      return [
        'path_style_refused',
        `${server} wants the name of the bucket in the host`,
        'write "force_path_style: false" below s3 of this repository',
      ]
    case 'SlowDown':
      return [
        'server_busy',
        'the server asked to slow down, again and again',
        'run it again later; fewer backups at the same minute help',
      ]
    case 'InvalidStorageClass':
      return ['storage_class_unknown', 'the server has no such storage class', 'choose another storage_class, or none']
    case 'AccessDenied':
    case 'Forbidden':
      return [
        'access_denied',
        'access denied',
        `the credentials need s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:AbortMultipartUpload and, to prune, s3:DeleteObject on ${bucket} (nexus-backup-repository(5))`,
      ]
    default:
  }
  if (status !== undefined && status >= 300 && status < 400)
    return [
      'redirected',
      `${server} sends requests for bucket ${bucket} elsewhere (${status})`,
      'name the region of the bucket with region, or the server that has it with endpoint, in the configuration; requests do not follow redirects',
    ]
  if (status === 403) return ['access_denied', 'access denied', `check the credentials and the bucket's policy`]
  if (status === 501)
    return [
      'not_implemented',
      `${server} cannot do this (501)`,
      special.length === 0
        ? 'it lacks a part of S3 that nexus-backup needs: see nexus-backup-repository(5)'
        : `it lacks a part of S3: see nexus-backup-repository(5) for what nexus-backup needs, and try without ${special.join(', ')} below s3 in the configuration, which not every server knows`,
    ]
  if (status === 429 || status === 503)
    return ['server_busy', `the server is overloaded (${status})`, 'run it again later']
  if (status !== undefined && status >= 500)
    return [
      'server_error',
      `the server failed (${status}), again and again`,
      'look at its log, then run the command again',
    ]
  return undefined
}

/** Why the server could not be reached. */
function networkFault({ code, name }: Known, { server, bucket, virtualHost = false }: S3Doing): Fault | undefined {
  switch (code) {
    case 'ECONNREFUSED':
      return [
        'connection_refused',
        `${server} refuses the connection`,
        'does the server run, and is the port of the endpoint right?',
      ]
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      if (virtualHost)
        return [
          'name_unknown',
          `the name of ${server} with ${bucket} before it is not known (DNS)`,
          'check the endpoint; where the server wants the bucket in the path, write "force_path_style: true" below s3 of this repository',
        ]
      return [
        'name_unknown',
        `the name of ${server} is not known (DNS)`,
        'check the endpoint, and the name server of this machine',
      ]
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return ['unreachable', `${server} cannot be reached`, "check this machine's network and its routes"]
    case 'ECONNRESET':
    case 'EPIPE':
      return [
        'connection_lost',
        `${server} broke the connection, again and again`,
        'look at its log and at proxies on the way, then run the command again',
      ]
    default:
  }
  if (name === 'TimeoutError' || code === 'ETIMEDOUT') {
    return [
      'timed_out',
      `${server} did not answer in time, again and again`,
      'check the network; on a slow line raise timeout in the configuration',
    ]
  }
  return undefined
}

const certificateErrors = /CERT|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)|ERR_TLS/

function certificateFault({ code, message }: Known, { server }: S3Doing): Fault | undefined {
  if (certificateErrors.test(code)) {
    return [
      'certificate_refused',
      `the certificate of ${server} is not to be trusted: ${message}`,
      'name the authority that signed it with ca_file in the configuration (AWS_CA_BUNDLE for --repo)',
    ]
  }
  if (code === 'EPROTO' || /wrong version number/.test(message)) {
    return [
      'protocol_wrong',
      `${server} does not speak TLS`,
      'is the endpoint http:// instead of https://, or the port another?',
    ]
  }
  return undefined
}

function unknown({ name, message }: Known): Fault {
  if (/Region is missing/.test(message)) {
    return ['region_missing', 'no region is known', 'name it with region in the configuration, or with AWS_REGION']
  }
  const why = message === '' || message === 'UnknownError' ? name : message
  return ['repository_error', why, 'run it again with --verbose; nothing that was committed before is touched']
}

function archived(error: unknown, { path }: S3Doing): NexusError {
  return new NexusError('failed', 'object_archived', `${path} lies in an archive class and must be thawed first`, {
    cause: error,
    hint: 'nexus-backup restore asks for it and says how long it takes',
  })
}

/** Name, errno and status of an error of the SDK, or of what it hides below it. */
function knownOf(error: unknown): Known {
  let code = ''
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5 && code === ''; at = at.cause, depth += 1) {
    // A connection tried at several addresses ends with an AggregateError.
    const first = (at as AggregateError).errors?.[0]
    const found = (at as NodeJS.ErrnoException).code ?? (first as NodeJS.ErrnoException | undefined)?.code
    if (typeof found === 'string') code = found
  }
  const { name = '', $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } }
  return { name, code, status: $metadata?.httpStatusCode, message: messageOf(error) }
}

/** Whether a fault is the store's refusal for want of permission. */
export function isDenied(error: unknown): boolean {
  return error instanceof NexusError && error.code === 'access_denied'
}
