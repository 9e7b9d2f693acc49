import { renewRoot } from '../../operations/keys/renew-root.js'
import type { Handler } from '../invocation.js'
import { switchOption } from '../parsed.js'
import { onlyRepository } from './keys-repository.js'

/** `keys recovery` */
export const runKeysRecovery: Handler = async invocation => {
  const dryRun = switchOption(invocation.options, 'dry-run')
  const repository = onlyRepository(await invocation.settings())
  const result = await renewRoot(await invocation.context(), await invocation.journal(), { repository, dryRun })
  const { status, edition, sha256, renewed, signed } = result
  const done = renewed ? ', renewed' : ''
  return {
    document: { ...result, dry_run: dryRun },
    text: () =>
      `${result.repository}: recover.mjs is ${status}, edition ${edition}, SHA-256 ${sha256 ?? 'of none'}${done}${signed ? ', signed' : ''}\n`,
    always: true,
    failures: [],
  }
}
