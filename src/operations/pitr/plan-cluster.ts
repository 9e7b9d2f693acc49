import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { isoMicros } from '../../model/micros.js'
import type { Manifest } from '../../repository/manifest.js'
import { formatLsn } from '../../sources/postgres/wal-names.js'
import { chainOf } from '../chain-members.js'
import { drillNotes } from '../drill-notes.js'
import { openSelected } from '../sealing/open-backup.js'
import { type Selected, selectBackup } from '../select.js'
import { shellQuoted } from '../shell.js'
import { type BaseFacts, baseFacts } from './base-facts.js'
import { walOf } from './choose.js'
import { followedLine } from './latest.js'
import { loadSystems } from './load-systems.js'
import { newDirectoryAt } from './new-directory.js'
import { manifestOf, openScans } from './open-scans.js'
import { planTarget } from './plan-target.js'
import type { ClusterRestorePlan, NamedCommit, RestoreClusterRequest } from './requests.js'
import type { Resolution } from './resolve.js'
import { serverPrograms } from './run-restored.js'

/** Of what was damaged, so many are named. */
const MOST_LINES = 10

/** A plan with what is needed to carry it out. */
export interface PreparedRestore {
  plan: ClusterRestorePlan
  selected: Selected
  facts: BaseFacts
  setting: Resolution['setting']
  /** Null: the base at its own end. */
  recoveryTimeline: number | null
}

/** @throws NexusError for everything that can be refused before a byte is written */
export async function prepareClusterRestore(
  context: Context,
  request: RestoreClusterRequest,
): Promise<PreparedRestore> {
  const target = newDirectoryAt(request.to, '--to')
  const { selected: found, resolution, wal, timeline, damage } = await chosen(context, request)
  const selected = await openSelected(context, found)
  const { manifest, survey } = selected
  const facts = baseFacts(manifest)
  const chain = chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member])))
  const tablespaces = placesOf(facts, request)
  const movedFrom = movedWal(facts)
  const waldir = walPlaceOf(request, [target, ...tablespaces.map(({ to }) => to)])
  // What would only be found missing after hours is looked for now.
  if (request.start !== null) await serverPrograms(context, facts, request.source ?? null)
  const { setting, until, notes, last, next } = resolution
  return {
    plan: {
      id: manifest.id,
      source: manifest.source,
      captured_at: manifest.captured_at,
      chain: chain.map(({ id }) => id),
      target,
      bytes: manifest.bytes_source,
      system_identifier: facts.system_identifier,
      until,
      timeline: timeline ?? facts.timeline,
      wal,
      notes: [
        ...notes,
        ...drillNotes(selected),
        ...(movedFrom === null || waldir !== null ? [] : [`${movedFrom}: --waldir DIR puts it elsewhere`]),
      ],
      tablespaces,
      waldir,
      recovery_target: setting === null ? null : `${setting.name} = '${setting.value}'`,
      last_commit: named(last),
      next_commit: named(next),
      ...(damage === null ? {} : { damage }),
    },
    selected,
    facts,
    setting,
    recoveryTimeline: timeline,
  }
}

interface Chosen {
  selected: Selected
  resolution: Resolution
  wal: ClusterRestorePlan['wal']
  timeline: number | null
  /** What was wrong with the cluster that the base is of; null for a sound one. */
  damage: string | null
}

async function chosen(context: Context, request: RestoreClusterRequest): Promise<Chosen> {
  const { target, timeline, repositories, backup, untrusted } = request
  if (target.kind === 'base') {
    const selected = await selectBackup(context, repositories, { backup, untrusted })
    const until = `to the end of ${selected.manifest.id}`
    const resolution = { setting: null, until, notes: [], last: null, next: null }
    return { selected, resolution, wal: null, timeline: null, damage: null }
  }
  const loaded = await loadSystems(context, repositories, backup)
  if (loaded.length === 0) throw noCluster(backup)
  const systems = loaded.map(system => ({ ...system, allowsMarked: request.allowDamaged === true }))
  const scans = openScans(context)
  const planned = await planTarget(context, systems, { target, timeline }, scans.of).finally(() => scans.save())
  const { candidate, resolution } = planned
  const passed = candidate.passedOver.map(({ id, problem }) => `${id} is newer and not used: ${problem}`)
  const { system, line } = candidate
  const manifest = manifestOf(candidate.system, candidate.base)
  const marked = candidate.base.isMarked === true ? damageOf(manifest) : null
  const damage = marked === null ? [] : [`${manifest.id} was made of a damaged cluster: ${marked}`]
  const followed = timeline === 'latest' ? followedLine(system, line) : []
  return {
    selected: {
      room: candidate.system.room,
      survey: candidate.system.survey,
      manifest,
    },
    resolution: { ...resolution, notes: [...damage, ...resolution.notes, ...followed, ...passed] },
    damage: marked,
    wal: walOf(candidate),
    timeline: candidate.line.timeline,
  }
}

/** What the checks said when a backup was made; of one that inherits the mark they say nothing. */
function damageOf({ checks, parent }: Manifest): string {
  const failed = checks.filter(({ status }) => status === 'failed').map(({ name, detail }) => `${name}: ${detail}`)
  const text = failed.length > 0 ? failed.join('\n') : `it stands on ${parent}, whose checks failed`
  return text.split('\n').slice(0, MOST_LINES).join('; ')
}

function named(commit: Resolution['last']): NamedCommit | null {
  return commit && { xid: String(commit.xid), lsn: formatLsn(commit.lsn), at: isoMicros(commit.at) }
}

/**
 * Where each tablespace goes: as mapped, and nowhere else. Where it was only the manifest tells, which comes from outside:
 * as root it could name any directory of the system (design section 5: paths in it never leave the target).
 */
function placesOf(
  { tablespaces }: BaseFacts,
  { tablespaceMap }: RestoreClusterRequest,
): ClusterRestorePlan['tablespaces'] {
  const unknown = tablespaceMap.find(({ from }) => tablespaces.every(({ path }) => path !== from))
  if (unknown !== undefined) {
    const places = tablespaces.map(({ path }) => path).join(', ')
    throw new NexusError('usage', 'tablespace_unknown', `--tablespace-map: no tablespace was in ${unknown.from}`, {
      hint: places === '' ? 'the cluster has no tablespaces' : `its tablespaces were in ${places}`,
    })
  }
  const unmapped = tablespaces.filter(({ path }) => tablespaceMap.every(({ from }) => from !== path))
  if (unmapped.length > 0) throw notMapped(unmapped)
  const places = tablespaces.flatMap(({ oid, path }) => {
    const mapped = tablespaceMap.findLast(({ from }) => from === path)
    return mapped === undefined ? [] : [{ oid, from: path, to: newDirectoryAt(mapped.to, '--tablespace-map') }]
  })
  const twice = places.find(({ to }, at) => places.some((other, beside) => beside !== at && other.to === to))
  if (twice === undefined) return places
  throw new NexusError('usage', 'tablespace_twice', `--tablespace-map puts two tablespaces into ${twice.to}`, {
    hint: 'give each one a directory of its own',
  })
}

/** @throws NexusError `usage` (`waldir_inside`), and as `newDirectoryAt` does */
function walPlaceOf({ waldir }: RestoreClusterRequest, others: readonly string[]): string | null {
  if (waldir === undefined) return null
  const place = newDirectoryAt(waldir, '--waldir')
  const isInside = (path: string, directory: string) => `${path}/`.startsWith(`${directory}/`)
  const other = others.find(path => isInside(path, place) || isInside(place, path))
  if (other === undefined) return place
  throw new NexusError('usage', 'waldir_inside', `--waldir ${place} and ${other} lie in one another`, {
    hint: 'give the WAL a directory of its own, outside of the others',
  })
}

/** What to know of a cluster whose WAL was on a disk of its own, which was meant to carry it; null of any other. */
export function movedWal({ wal_directory: before }: BaseFacts): string | null {
  return before === null ? null : `pg_wal was a link to ${before} and is restored as an ordinary directory`
}

function notMapped(tablespaces: BaseFacts['tablespaces']): NexusError {
  const paths = tablespaces.map(({ path }) => path)
  const where = `where to put what was in ${paths.join(' and ')} must be said`
  const flags = paths.map(path => `--tablespace-map ${shellQuoted(`${path}=${path}`)}`).join(' ')
  return new NexusError(
    'refused',
    'tablespace_unmapped',
    `the cluster has tablespaces outside its directory: ${where}`,
    {
      hint: `for where it was, if that is free: ${flags}; for anywhere else OLD=NEW`,
    },
  )
}

function noCluster(source: string): NexusError {
  return new NexusError('not-found', 'no_base', `there is no backup of a cluster named ${source}`, {
    hint: `make one: nexus-backup create ${source}`,
  })
}
