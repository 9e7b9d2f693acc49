import { trustHost } from '../../operations/keys/trust-host.js'
import type { Handler } from '../invocation.js'
import { switchOption } from '../parsed.js'
import { onlyRepository } from './keys-repository.js'

/** `keys trust ID` */
export const runKeysTrust: Handler = async invocation => {
  const { operands, options } = invocation
  const dryRun = switchOption(options, 'dry-run')
  const result = await trustHost(await invocation.context(), await invocation.journal(), {
    repository: onlyRepository(await invocation.settings()),
    id: operands[0] ?? '',
    dryRun,
  })
  return {
    document: { ...result, dry_run: dryRun },
    text: () => `${result.id} ${dryRun ? 'would be' : 'is'} vouched for as the key of ${result.host}\n`,
    always: dryRun,
    failures: [],
  }
}
