import { rotateKeys } from '../../operations/keys/rotate-keys.js'
import type { Handler } from '../invocation.js'
import { listOption, switchOption } from '../parsed.js'
import { onlyRepository } from './keys-repository.js'

/** `keys rotate [--without ID]` */
export const runKeysRotate: Handler = async invocation => {
  const { options } = invocation
  const dryRun = switchOption(options, 'dry-run')
  const result = await rotateKeys(await invocation.context(), await invocation.journal(), {
    repository: onlyRepository(await invocation.settings()),
    without: listOption(options, 'without'),
    dryRun,
  })
  const done = dryRun ? 'would begin a new epoch' : `began ${result.epoch}`
  return {
    document: { ...result, dry_run: dryRun },
    text: () => `${result.repository}: ${done}, for ${result.recipients.join(', ')}\n`,
    always: dryRun,
    failures: [],
  }
}
