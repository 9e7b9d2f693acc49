import { listKeys } from '../../operations/keys/list-keys.js'
import type { Handler } from '../invocation.js'
import { renderKeys } from '../output/render-keys.js'

/** `keys list` */
export const runKeysList: Handler = async invocation => {
  const { repositories, timezone } = await invocation.settings()
  const result = await listKeys(await invocation.context(), repositories)
  return { document: result, text: () => renderKeys(result, timezone), always: true, failures: [] }
}
