import { configurationPlaces, locateConfiguration, type Surroundings } from '../../config/locate.js'
import { checkFile, invalidConfiguration } from '../../config/read-file.js'
import type { ConfigurationDocument } from '../../config/validate.js'
import { NexusError } from '../../errors.js'
import type { AskedServer, ServerOfSource } from '../../operations/pitr/ask-servers.js'
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
  const servers = await serversOf(invocation, settings)
  for (const { source, away } of servers) {
    if (away !== null) invocation.warn(`${source}: its server could not be asked whether it is ready: ${away}`)
  }
  const sum = `${counted(sources.length, 'source')}, ${repositories.length} ${repositories.length === 1 ? 'repository' : 'repositories'}`
  return {
    document: {
      ...{ command: 'config check', file, valid, problems, sources, repositories },
      ...(servers.length === 0 ? {} : { servers }),
    },
    text: paint => (valid ? `${file}: ${paint.good('valid')}, ${sum}\n` : ''),
    always: true,
    // The file decides: what it says wrongly comes before what a server lacks.
    failures: [...serverFailures(servers), ...(valid ? [] : [invalidConfiguration(file, problems)])],
  }
}

/** Asks the servers of the clusters that are configured well enough for that. */
async function serversOf({ io }: Invocation, { sources }: ConfigurationDocument): Promise<AskedServer[]> {
  const clusters = sources.flatMap(({ name, value }): ServerOfSource[] => {
    if (value.kind !== 'postgres') return []
    const { connection = '', data_directory: dataDirectory = null, bin_directory: binDirectory = null } = value
    const pitr = value.keep?.pitr
    return [{ name, connection, dataDirectory, binDirectory, keep: pitr === undefined ? {} : { pitr } }]
  })
  if (clusters.length === 0) return []
  const { askServers } = await import('../../operations/pitr/ask-servers.js')
  return askServers(io, clusters)
}

function serverFailures(servers: readonly AskedServer[]): NexusError[] {
  return servers.flatMap(({ problems }) =>
    problems.map(({ code, message, hint }) => new NexusError('partial', code, message, hint === null ? {} : { hint })),
  )
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
