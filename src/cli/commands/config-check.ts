import { configurationPlaces, locateConfiguration, type Surroundings } from '../../config/locate.js'
import { checkFile, invalidConfiguration } from '../../config/read-file.js'
import { NexusError } from '../../errors.js'
import type { Handler, Invocation } from '../invocation.js'
import { counted } from '../output/format.js'
import { textOption } from '../parsed.js'

/** `config check` */
export const runConfigCheck: Handler = async invocation => {
  const file = fileToCheck(invocation)
  const { settings, problems, warnings } = checkFile(file, invocation.io.user.uid)
  for (const warning of warnings) invocation.warn(warning)
  const sources = settings.sources.map(source => source.name)
  const repositories = settings.repositories.map(repository => repository.name)
  const valid = problems.length === 0
  const sum = `${counted(sources.length, 'source')}, ${repositories.length} ${repositories.length === 1 ? 'repository' : 'repositories'}`
  return {
    document: { command: 'config check', file, valid, problems, sources, repositories },
    text: paint => (valid ? `${file}: ${paint.good('valid')}, ${sum}\n` : ''),
    always: true,
    failures: valid ? [] : [invalidConfiguration(file, problems)],
  }
}

function fileToCheck({ io, options }: Invocation): string {
  const around: Surroundings = {
    cwd: io.cwd,
    uid: io.user.uid,
    home: io.user.home,
    xdgConfigHome: io.env.XDG_CONFIG_HOME,
    xdgStateHome: io.env.XDG_STATE_HOME,
  }
  const file = locateConfiguration(textOption(options, 'config'), around)
  if (file !== undefined) return file
  const places = configurationPlaces(around).join(' nor ')
  throw new NexusError('configuration', 'configuration_missing', `no configuration: neither ${places} exists`, {
    hint: 'name one with --config FILE; nexus-backup-config(5) describes every key',
  })
}
