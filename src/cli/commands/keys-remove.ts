import { removeKey } from '../../operations/keys/remove-key.js'
import type { Handler } from '../invocation.js'
import { switchOption } from '../parsed.js'
import { onlyRepository } from './keys-repository.js'

/** `keys remove ID` */
export const runKeysRemove: Handler = async invocation => {
  const { operands, options } = invocation
  const dryRun = switchOption(options, 'dry-run')
  const result = await removeKey(await invocation.context(), await invocation.journal(), {
    repository: onlyRepository(await invocation.settings()),
    id: operands[0] ?? '',
    force: switchOption(options, 'force'),
    dryRun,
  })
  const done = dryRun ? 'would no longer open' : 'no longer opens'
  return {
    document: { ...result, dry_run: dryRun },
    text: () => `${result.removed} ${done} ${result.repository}\n`,
    always: dryRun,
    failures: [],
  }
}
