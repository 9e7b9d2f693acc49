import { NexusError } from '../../errors.js'
import type { KeysTestResult } from '../../operations/keys/results.js'
import { testKeys } from '../../operations/keys/test-keys.js'
import type { Handler } from '../invocation.js'
import { renderKeysTest } from '../output/render-keys.js'

/** `keys test` */
export const runKeysTest: Handler = async invocation => {
  const { repositories } = await invocation.settings()
  const result = await testKeys(await invocation.context(), await invocation.journal(), repositories)
  const failures = keysTestFailures(result)
  return { document: result, text: paint => renderKeysTest(result, paint), always: true, failures }
}

/** A recipient that fails is 4; a repository that nothing here opens 8; nothing to test 5. */
export function keysTestFailures({ repositories }: KeysTestResult): NexusError[] {
  const encrypted = repositories.filter(({ epoch }) => epoch !== null)
  if (encrypted.length === 0) {
    return [
      new NexusError('not-found', 'not_encrypted', 'no repository here is encrypted', {
        hint: 'turn it on for the backups to come: nexus-backup keys add key-file=FILE --repo DIR',
      }),
    ]
  }
  const failures: NexusError[] = []
  for (const { repository, recipients } of encrypted) {
    if (recipients.some(({ status }) => status === 'ok')) continue
    failures.push(
      new NexusError('refused', 'key_missing', `nothing on this host opens ${repository}`, {
        hint: 'give --key-file FILE or --passphrase-file FILE; on a host that only makes backups that is as it should be',
      }),
    )
  }
  for (const { repository, recipients } of encrypted) {
    const failed = recipients.filter(({ status }) => status === 'failed')
    if (failed.length === 0) continue
    const names = failed.map(({ id, detail }) => `${id} (${detail})`).join(', ')
    failures.push(
      new NexusError('damage', 'recipient_failed', `${repository} does not open for: ${names}`, {
        hint: 'let it in again with nexus-backup keys add, after nexus-backup keys remove',
      }),
    )
  }
  return failures
}
