import { NexusError } from '../errors.js'
import { noSecrets } from '../secret-variables.js'
import type { KeyTools } from './recipient.js'

const GPG_MS = 120_000

/** Encrypts for a public key of the user's key ring. @throws NexusError */
export async function gpgEncrypt(fingerprint: string, message: Uint8Array, tools: KeyTools): Promise<Buffer> {
  // `!`-less: the fingerprint is that of the key, and gpg takes its encryption subkey. Trust is the operator's, who
  // named all digits of it.
  const args = ['--batch', '--no-tty', '--trust-model', 'always', '--no-encrypt-to', '--recipient', fingerprint]
  const { output, problem } = await gpg([...args, '--output', '-', '--encrypt'], message, tools)
  if (output !== undefined && output.length > 0) return output
  throw new NexusError('failed', 'gpg_failed', `gpg cannot encrypt for ${fingerprint}: ${problem}`, {
    hint: `import the public key as this user: gpg --import FILE; see it with: gpg --list-keys ${fingerprint}`,
  })
}

/** Decrypts with whatever secret key the user's agent has; the reason where it has none. */
export async function gpgDecrypt(
  message: Uint8Array,
  tools: KeyTools,
): Promise<{ output: Buffer } | { problem: string }> {
  // Without a terminal nobody can answer; with one, the agent asks in its own way.
  const quiet = tools.ask === undefined ? ['--batch', '--no-tty', '--pinentry-mode', 'error'] : ['--quiet']
  const { output, problem } = await gpg([...quiet, '--output', '-', '--decrypt'], message, tools)
  return output === undefined ? { problem } : { output }
}

async function gpg(
  args: readonly string[],
  input: Uint8Array,
  tools: KeyTools,
): Promise<{ output: Buffer | undefined; problem: string }> {
  const { execa } = await import('execa')
  const done = await execa('gpg', args, {
    env: { ...tools.env, ...noSecrets } as Record<string, string>,
    extendEnv: false,
    input: Buffer.from(input),
    encoding: 'buffer',
    timeout: GPG_MS,
    maxBuffer: 1 << 20,
    reject: false,
    cancelSignal: tools.signal,
  })
  if (done.exitCode === 0) return { output: Buffer.from(done.stdout), problem: '' }
  if (done.code === 'ENOENT') return { output: undefined, problem: 'the gpg program is missing' }
  const lines = Buffer.from(done.stderr ?? [])
    .toString('utf8')
    .split('\n')
    .filter(line => line !== '')
  return { output: undefined, problem: lines.at(-1) ?? `it ended with ${done.exitCode ?? done.signal}` }
}
