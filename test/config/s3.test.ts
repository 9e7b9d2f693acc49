import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { describeSettings } from '../../src/config/describe.js'
import { load, refusal } from './loading.js'

const places = (text: string | undefined, request: Parameters<typeof load>[1] = {}) =>
  load(text, request).settings.repositories

describe('a repository on an object store', () => {
  it('may be described to the last detail', () => {
    const text = `
repositories:
  offsite:
    s3:
      bucket: backups
      prefix: /nexus/db1/
      region: eu-central-1
      endpoint: https://s3.example.com:9000/
      storage_class: STANDARD_IA
      force_path_style: false
      sse: aws:kms
      kms_key_id: arn:aws:kms:eu-central-1:111122223333:key/1
      ca_file: /etc/ssl/own.pem
      profile: backup
      object_lock: { mode: compliance, days: 30 }
      timeout: 2min
      part_size: 64MiB
      max_parts: 1000
      concurrency: 4
      locking: single-writer
`
    const first = load(text)
    expect(first.settings.repositories).toEqual([
      {
        name: 'offsite',
        path: 's3://backups/nexus/db1',
        s3: {
          bucket: 'backups',
          prefix: 'nexus/db1',
          region: 'eu-central-1',
          endpoint: 'https://s3.example.com:9000',
          storageClass: 'STANDARD_IA',
          forcePathStyle: false,
          sse: 'aws:kms',
          kmsKeyId: 'arn:aws:kms:eu-central-1:111122223333:key/1',
          caFile: '/etc/ssl/own.pem',
          objectLock: { mode: 'COMPLIANCE', days: 30 },
          profile: 'backup',
          timeout: 120_000,
          partSize: 64 * 1024 * 1024,
          maxParts: 1000,
          concurrency: 4,
          locking: 'single-writer',
        },
      },
    ])
    const again = load(stringify(describeSettings(first.settings)))
    expect(again.settings.repositories).toEqual(first.settings.repositories)
  })

  it('needs a bucket and nothing else', () => {
    const [place] = places('repositories: { o: { s3: { bucket: my-backups } } }\n')
    expect(place).toEqual({ name: 'o', path: 's3://my-backups', s3: { bucket: 'my-backups', prefix: '' } })
  })

  it.each([
    ['bucket: B', 'must be the name of a bucket'],
    ['prefix: a', 'bucket: is missing'],
    ['bucket: abc, prefix: a/../b', 'must be a path within the bucket'],
    ['bucket: abc, prefix: a//b', 'must be a path within the bucket'],
    ['bucket: abc, endpoint: s3.example.com', 'must be a URL such as'],
    ['bucket: abc, endpoint: "https://me:secret@s3.example.com"', 'must be a URL such as'],
    ['bucket: abc, storage_class: cheap', 'must be a storage class'],
    ['bucket: abc, sse: yes', 'must be AES256 or aws:kms'],
    ['bucket: abc, kms_key_id: k', 'kms_key_id goes with sse: aws:kms'],
    ['bucket: abc, object_lock: { mode: strict, days: 1 }', 'must be governance or compliance'],
    ['bucket: abc, object_lock: { mode: governance, days: 0 }', 'must be a number of days'],
    ['bucket: abc, timeout: 3min', 'must be 2min at most'],
    ['bucket: abc, part_size: 4MiB', 'must be a size from 5MiB to 5GiB'],
    ['bucket: abc, part_size: 64', 'must be a size from 5MiB to 5GiB'],
    ['bucket: abc, max_parts: 1', 'must be a whole number from 2 to 10000'],
    ['bucket: abc, concurrency: 0', 'must be a whole number from 1 to 64'],
    ['bucket: abc, ca_file: /a', 'ca_file goes with an endpoint'],
    ['bucket: abc, secret_access_key: x', 'credentials never stand in a configuration'],
    ['bucket: abc, access_key: x', 'credentials never stand in a configuration'],
    ['bucket: abc, endpiont: http://a', "unknown key; did you mean 'endpoint'?"],
  ])('is refused with { %s }', (keys, message) => {
    const error = refusal(`repositories: { o: { s3: { ${keys} } } }\n`)
    expect([error.kind, error.message]).toEqual(['configuration', expect.stringContaining(message)])
  })

  it('has no path beside it', () => {
    const error = refusal('repositories: { o: { path: /r, s3: { bucket: abc } } }\n')
    expect(error.message).toContain('a repository has either a path or s3')
  })
})

describe('--repo s3://BUCKET/PREFIX', () => {
  it('takes server and authority from where AWS programs do', () => {
    const repo = 's3://my-bucket/backups/'
    expect(places(undefined, { repo })).toEqual([
      { name: 'repo', path: 's3://my-bucket/backups', s3: { bucket: 'my-bucket', prefix: 'backups' } },
    ])
    const env = { AWS_ENDPOINT_URL: 'http://a', AWS_ENDPOINT_URL_S3: 'http://b', AWS_CA_BUNDLE: '/ca.pem' }
    expect(places(undefined, { repo, env })[0]?.s3).toMatchObject({ endpoint: 'http://b', caFile: '/ca.pem' })
    expect(places(undefined, { repo, env: { AWS_ENDPOINT_URL: 'http://a' } })[0]?.s3?.endpoint).toBe('http://a')
    const error = refusal(undefined, { repo, env: { AWS_ENDPOINT_URL: 'b:9000' } })
    expect([error.kind, error.code]).toEqual(['usage', 'endpoint_invalid'])
  })

  it('means the configured repository of that place', () => {
    const text = 'repositories: { o: { s3: { bucket: abc, prefix: d, endpoint: http://configured } } }\n'
    const [place] = places(text, { repo: 's3://abc/d', env: { AWS_ENDPOINT_URL: 'http://a' } })
    expect(place).toMatchObject({ name: 'o', s3: { endpoint: 'http://configured' } })
  })

  it.each(['s3://', 's3://B', 's3://abc/../d', 'gs://abc/d', 'https://abc/d'])('is refused as %s', repo => {
    expect(refusal(undefined, { repo }).kind).toBe('usage')
  })
})
