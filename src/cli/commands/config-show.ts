import { stringify } from 'yaml'
import { describeSettings } from '../../config/describe.js'
import type { Handler } from '../invocation.js'

/** `config show` */
export const runConfigShow: Handler = async invocation => {
  const settings = await invocation.settings()
  const described = describeSettings(settings)
  const from = settings.file === null ? 'the command line; no configuration was read' : settings.file
  return {
    document: { command: 'config show', file: settings.file, ...described },
    text: () => `# from ${from}\n${stringify(described, { lineWidth: 0 })}`,
    always: true,
    failures: [],
  }
}
