/** Variables that open a bucket: the ones of the AWS SDK's chain that hold a secret themselves. */
const bucketSecrets = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
] as const

type Environment = Readonly<Record<string, string | undefined>>

/**
 * What takes our secrets from the environment that execa hands on: whoever may see a program's environment, or its core
 * dump, would have them. A program that needs one is given it by name.
 */
export const noSecrets: Record<string, undefined> = Object.fromEntries(
  [...bucketSecrets, 'PGPASSWORD'].map(name => [name, undefined]),
)

/** An environment without what opens a bucket, for programs that never reach one. */
export function withoutBucketSecrets(env: Environment): Record<string, string | undefined> {
  return { ...env, ...Object.fromEntries(bucketSecrets.map(name => [name, undefined])) }
}
