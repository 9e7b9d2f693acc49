import { fetchWal } from '../../operations/wal/fetch.js'
import type { Handler } from '../invocation.js'
import { switchOption, textOption } from '../parsed.js'
import { aheadOf } from './wal-ahead.js'

/** `pitr fetch FILE PATH [--source NAME]`: PostgreSQL's restore_command. */
export const runPitrFetch: Handler = async invocation => {
  const { options, io } = invocation
  const [name = '', path = ''] = invocation.operands
  const ahead = aheadOf('fetch', invocation)
  const result = await fetchWal(await invocation.context(), {
    settings: await invocation.settings(),
    name,
    path,
    cwd: io.cwd,
    source: textOption(options, 'source'),
    untrusted: switchOption(options, 'untrusted'),
    ahead,
    dryRun: switchOption(options, 'dry-run'),
  })
  return {
    document: result,
    text: () => `${result.name} of ${result.source}: ${result.path}\n`,
    always: false,
    failures: [],
  }
}
