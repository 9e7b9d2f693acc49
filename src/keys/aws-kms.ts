import { messageOf, NexusError } from '../errors.js'

/** Binds what is wrapped to its epoch; KMS writes it into its log (CloudTrail). */
function contextOf(epoch: string): Record<string, string> {
  return { 'nexus-backup-epoch': epoch }
}

/** Has AWS KMS encrypt a message of at most 4 KiB. Credentials by the SDK's usual chain. @throws NexusError failed */
export async function kmsEncrypt(key: string, epoch: string, message: Uint8Array): Promise<Buffer> {
  const { KMSClient, EncryptCommand } = await import('@aws-sdk/client-kms')
  const client = new KMSClient(regionOf(key))
  try {
    const command = new EncryptCommand({ KeyId: key, Plaintext: message, EncryptionContext: contextOf(epoch) })
    const { CiphertextBlob: blob } = await client.send(command)
    if (blob === undefined) throw new Error('the answer holds nothing')
    return Buffer.from(blob)
  } catch (cause) {
    throw new NexusError('failed', 'kms_failed', `AWS KMS cannot encrypt with ${key}: ${messageOf(cause)}`, {
      cause,
      hint: 'the role needs kms:Encrypt on this key; see who you are with: aws sts get-caller-identity',
    })
  } finally {
    client.destroy()
  }
}

/** Has AWS KMS decrypt; the reason where it does not. */
export async function kmsDecrypt(
  key: string,
  epoch: string,
  message: Uint8Array,
): Promise<{ output: Buffer } | { problem: string }> {
  const { KMSClient, DecryptCommand } = await import('@aws-sdk/client-kms')
  const client = new KMSClient(regionOf(key))
  try {
    const command = new DecryptCommand({ KeyId: key, CiphertextBlob: message, EncryptionContext: contextOf(epoch) })
    const { Plaintext: plain } = await client.send(command)
    return plain === undefined ? { problem: 'the answer holds nothing' } : { output: Buffer.from(plain) }
  } catch (error) {
    return { problem: messageOf(error) }
  } finally {
    client.destroy()
  }
}

/** An ARN names its region: the environment need not. */
function regionOf(key: string): { region?: string } {
  const region = /^arn:[^:]+:kms:([^:]+):/.exec(key)?.[1]
  return region === undefined ? {} : { region }
}
