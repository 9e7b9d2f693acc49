import { archiveWal } from '../../operations/wal/archive.js'
import type { Handler } from '../invocation.js'
import { switchOption, textOption } from '../parsed.js'
import { aheadOf } from './wal-ahead.js'

/** `pitr archive PATH [--source NAME]`: PostgreSQL's archive_command. */
export const runPitrArchive: Handler = async invocation => {
  const { options, io } = invocation
  const [path = ''] = invocation.operands
  const ahead = aheadOf('archive', invocation)
  const result = await archiveWal(await invocation.context(), {
    settings: await invocation.settings(),
    path,
    cwd: io.cwd,
    source: textOption(options, 'source'),
    ahead,
    dryRun: switchOption(options, 'dry-run'),
  })
  const more = result.ahead.length === 0 ? '' : `, and ${result.ahead.length} more`
  return {
    document: result,
    text: () => `${result.name}: ${result.result} in ${result.source}${more}\n`,
    always: false,
    failures: [],
  }
}
