import { NexusError } from '../../errors.js'
import type { ClusterTarget } from '../../operations/pitr/requests.js'
import { shellQuoted } from '../../operations/shell.js'
import { timeOf } from '../instants.js'
import { type OptionValues, switchOption, textOption } from '../parsed.js'

const names = ['at', 'lsn', 'xid', 'restore-point', 'end'] as const

/** The one option that says up to where. Throws `usage` for none and for several. */
export function targetName(options: OptionValues, source: string): (typeof names)[number] {
  const [name, another] = names.filter(option => options[option] !== undefined)
  if (name !== undefined && another === undefined) return name
  const given = another === undefined ? 'a target is missing' : `--${name} and --${another} exclude each other`
  throw new NexusError(
    'usage',
    another === undefined ? 'missing_option' : 'options_exclude',
    `pitr restore: ${given}`,
    {
      hint: `give exactly one of --at, --lsn, --xid, --restore-point and --end; the times there are: nexus-backup pitr points ${shellQuoted(source)}`,
    },
  )
}

/** That option as the operation wants it. Throws `usage` for a time that is not one instant in the zone. */
export function targetOf(options: OptionValues, name: (typeof names)[number], zone: string): ClusterTarget {
  const text = textOption(options, name) ?? ''
  const before = switchOption(options, 'before')
  if (name === 'at') return { kind: 'time', at: timeOf(name, text, zone), before }
  if (name === 'lsn') return { kind: 'lsn', lsn: text.toUpperCase() }
  if (name === 'xid') return { kind: 'xid', xid: text, before }
  return name === 'restore-point' ? { kind: 'restore-point', name: text } : { kind: 'end' }
}

const ofClusters = [
  ...['timeline', 'allow-damaged', 'tablespace-map', 'waldir'],
  ...['target-action', 'keep-archiving', 'start', 'stop'],
] as const

/** What only a cluster can be asked. Throws `usage` when it is asked of another kind of source. */
export function refuseClusterOptions(options: OptionValues, source: { name: string; kind: string }): void {
  const target = names.find(option => option !== 'at' && options[option] !== undefined)
  const foreign = target ?? ofClusters.find(option => options[option] !== undefined)
  if (foreign === undefined) return
  const { name, kind } = source
  throw new NexusError(
    'usage',
    'option_of_clusters',
    `--${foreign} is for clusters, and ${name} is a source of kind ${kind}`,
    {
      hint: `its points are the captures: nexus-backup pitr points ${shellQuoted(name)}; choose one with --at TIME`,
    },
  )
}

/** Throws `usage` for --before with a target that is a position of its own. */
export function refuseBefore(options: OptionValues, name: (typeof names)[number]): void {
  if (!switchOption(options, 'before') || name === 'at' || name === 'xid') return
  throw new NexusError('usage', 'options_exclude', `--before goes with --at or --xid, not with --${name}`, {
    hint: 'give the transaction that must not be in the copy with --xid, or its time with --at',
  })
}

const words = { pause: 'pause', shutdown: 'shut down' } as const

/** Combinations that no cluster can be restored with. Throws `usage`. */
export function refuseClusterMixture(options: OptionValues): void {
  if (switchOption(options, 'stop') && !switchOption(options, 'start')) {
    throw new NexusError('usage', 'stop_without_start', '--stop goes with --start', {
      hint: 'without --start no server is started',
    })
  }
  const action = textOption(options, 'target-action')
  if (switchOption(options, 'end') && (action === 'pause' || action === 'shutdown')) {
    throw new NexusError(
      'usage',
      'options_exclude',
      `--target-action ${action} has no target to ${words[action]} at with --end`,
      {
        hint: 'give a target with --at, --lsn, --xid or --restore-point, or leave --target-action out',
      },
    )
  }
}
