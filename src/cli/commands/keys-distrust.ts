import { distrustHost } from '../../operations/keys/distrust-host.js'
import type { Handler } from '../invocation.js'
import { switchOption } from '../parsed.js'
import { onlyRepository } from './keys-repository.js'

/** `keys distrust ID` */
export const runKeysDistrust: Handler = async invocation => {
  const { operands, options } = invocation
  const dryRun = switchOption(options, 'dry-run')
  const result = await distrustHost(await invocation.context(), await invocation.journal(), {
    repository: onlyRepository(await invocation.settings()),
    id: operands[0] ?? '',
    all: switchOption(options, 'all'),
    dryRun,
  })
  const { id, host, spared } = result
  const stay = spared.length === 1 ? 'one backup that it signed stays' : `${spared.length} backups that it signed stay`
  return {
    document: { ...result, dry_run: dryRun },
    text: () => `${id} of ${host} ${dryRun ? 'would be' : 'is'} distrusted; ${stay} ours\n`,
    always: dryRun,
    failures: [],
  }
}
