import { diff } from '../../operations/diff/diff.js'
import type { Handler } from '../invocation.js'
import { diffLine, renderDiff } from '../output/render-diff.js'

/** `diff BEFORE AFTER [PATTERN]` */
export const runDiff: Handler = async invocation => {
  const [before = '', after = '', pattern] = invocation.operands
  const { repositories } = await invocation.settings()
  const request = { repositories, before, after, pattern }
  const { result, entries } = await diff(await invocation.context(), request)
  return {
    document: result,
    rows: {
      name: 'entries',
      *items() {
        for (const entry of entries) yield { json: () => entry, text: () => diffLine(entry) }
      },
    },
    text: () => renderDiff(result),
    always: true,
    failures: [],
  }
}
