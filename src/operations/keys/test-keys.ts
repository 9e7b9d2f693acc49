import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { epochPrivate } from '../../keys/epoch-keys.js'
import { describeRecipient } from '../../keys/recipient.js'
import { unwrapWith } from '../../keys/wrapping.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import type { RecipientDocument } from '../../repository/keys/recipient-file.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { epochHeads } from './epoch-heads.js'
import { listedRecipient, warnOfAge } from './repository-keys.js'
import type { KeysTestResult, TestedRecipient } from './results.js'

/** Has every recipient that this host can reach open the current epoch, and those of copies: a key that was never tried is a hope. */
export async function testKeys(
  context: Context,
  journal: Journal,
  repositories: readonly RepositorySettings[],
): Promise<KeysTestResult> {
  const results: KeysTestResult['repositories'] = []
  for (const settings of repositories) {
    const repository = await openRepository(settings)
    const subject = { operation: 'keys test', source: null, repository: repository.location }
    results.push(
      await recorded(
        context,
        journal,
        subject,
        () => testOne(context, repository, settings),
        ({ recipients }) => ({ result: recipients.some(({ status }) => status === 'failed') ? 'damage' : 'done' }),
      ),
    )
  }
  return { command: 'keys test', repositories: results }
}

async function testOne(
  context: Context,
  repository: Repository,
  settings: RepositorySettings,
): Promise<KeysTestResult['repositories'][number]> {
  const { location } = repository
  const [current, ...others] = await epochHeads(context, repository)
  if (current === undefined) return { repository: location, epoch: null, recipients: [] }
  const recipients = await testRecipients(context, repository, current.id, settings)
  for (const { id } of others) recipients.push(...(await testRecipients(context, repository, id, settings)))
  warnOfAge(
    context,
    repository,
    recipients.map(recipient => ({ ...recipient, since: '' })),
  )
  return { repository: location, epoch: current.id, recipients }
}

/** Tries every recipient of an epoch with everything at hand. */
export async function testRecipients(
  context: Context,
  { storage }: Repository,
  id: string,
  settings: RepositorySettings,
): Promise<TestedRecipient[]> {
  const epoch = (await readEpochs(storage)).find(candidate => candidate.id === id)
  const tested: TestedRecipient[] = []
  for (const recipient of epoch === undefined ? [] : await readRecipients(storage, id)) {
    context.signal.throwIfAborted()
    const { kind, label, age_days, is_old } = listedRecipient(recipient, context.now(), settings)
    const outcome = epoch === undefined ? unreached : await tryOne(context, epoch, recipient)
    tested.push({ id: recipient.id, kind, label, ...outcome, age_days, is_old })
  }
  return tested
}

const unreached = { status: 'unreached', detail: 'nothing on this host opens it' } as const

async function tryOne(
  { keys }: Context,
  epoch: Epoch,
  recipient: RecipientDocument,
): Promise<Pick<TestedRecipient, 'status' | 'detail'>> {
  let failure: Pick<TestedRecipient, 'status' | 'detail'> = unreached
  for (const means of keys.means) {
    const answer = await unwrapWith(means, epoch.id, recipient, keys.tools)
    if (answer === undefined) continue
    const name = describeRecipient(means)
    if ('problem' in answer) {
      // Which passphrase was meant cannot be told, and a private GPG key may lie in a safe: neither is damage.
      const status = recipient.kind === 'passphrase' || recipient.kind === 'gpg' ? 'unreached' : 'failed'
      failure = { status, detail: `${name}: ${answer.problem}` }
      continue
    }
    if (answer.secret.length === 32 && epochPrivate(answer.secret).sealing.equals(epoch.sealing_key)) {
      return { status: 'ok', detail: `opened with the ${name}` }
    }
    failure = { status: 'failed', detail: `${name}: what it holds is not the secret of ${epoch.id}` }
  }
  return failure
}
