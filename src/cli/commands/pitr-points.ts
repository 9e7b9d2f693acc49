import { points } from '../../operations/points.js'
import type { Handler } from '../invocation.js'
import { renderPoints } from '../output/render-points.js'

/** `pitr points SOURCE` */
export const runPitrPoints: Handler = async invocation => {
  const settings = await invocation.settings()
  const [source = ''] = invocation.operands
  const result = await points(await invocation.context(), settings.repositories, source)
  return { document: result, text: () => renderPoints(result, settings.timezone), always: true, failures: [] }
}
