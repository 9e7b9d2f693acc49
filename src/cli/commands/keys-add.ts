import { addKeys } from '../../operations/keys/add-keys.js'
import type { Handler } from '../invocation.js'
import { switchOption, textOption } from '../parsed.js'
import { recipientFrom } from '../recipients.js'
import { onlyRepository } from './keys-repository.js'

/** `keys add RECIPIENT...` */
export const runKeysAdd: Handler = async invocation => {
  const { io, operands, options } = invocation
  const recipients = operands.map(text => recipientFrom(text, io.cwd))
  const repository = onlyRepository(await invocation.settings())
  if (switchOption(options, 'dry-run')) {
    const document = { command: 'keys add', repository: repository.path, added: [], began: false, dry_run: true }
    const text = () => `would add ${recipients.length} to ${repository.path}\n`
    return { document, text, always: true, failures: [] }
  }
  const request = { repository, recipients, label: textOption(options, 'label') ?? null }
  const result = await addKeys(await invocation.context(), await invocation.journal(), request)
  const began = result.began ? '; it is encrypted from now on, the next backup of each source is a full' : ''
  return {
    document: result,
    text: () => `${result.repository} opens for ${result.added.join(', ')}${began}\n`,
    always: false,
    failures: [],
  }
}
