import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import type { Manifest } from '../repository/manifest.js'
import { openRepository } from '../repository/open.js'
import type { SourceRoom } from '../repository/types.js'
import { reportOf } from './report.js'
import type { ListRequest } from './requests.js'
import type { ListedBackup, ListedProblem, ListedUntrusted, ListResult } from './results.js'
import { roomsOf } from './rooms.js'
import { survey } from './survey.js'

/**
 * Lists the backups in the repositories, oldest first; within a source the sequence decides, so that a clock set
 * back does not disturb the order. What cannot be restored stands among the problems.
 * @throws NexusError not-found for a repository or a named source that is not there
 */
export async function list(context: Context, { repositories, source, all }: ListRequest): Promise<ListResult> {
  const dated: Dated<ListedBackup>[] = []
  const apart: Dated<ListedUntrusted>[] = []
  const problems: ListedProblem[] = []
  for (const room of await roomsOf(repositories, source)) {
    context.signal.throwIfAborted()
    const found = await listRoom(context, room)
    dated.push(...found.dated)
    apart.push(...found.apart)
    problems.push(...found.problems.filter(({ status }) => all || status === 'damaged'))
  }
  for (const place of repositories) problems.push(...(await linkedSources(place, source)))
  // A stable sort: of two backups with the same age, the order within their source stays.
  return { command: 'list', backups: byAge(dated), untrusted: byAge(apart), problems }
}

function byAge<T>(dated: Dated<T>[]): T[] {
  return dated.sort((a, b) => a.age - b.age).map(({ backup }) => backup)
}

/** A link in a source's place is never followed, and must not pass for a source that is not there. */
async function linkedSources(place: RepositorySettings, wanted: string | undefined): Promise<ListedProblem[]> {
  // A bucket has none.
  if (place.s3 !== undefined) return []
  const { storage, location: repository } = await openRepository(place)
  const links = (await storage.list('')).filter(({ name, kind }) => kind === 'other' && (wanted ?? name) === name)
  return links.map(({ name }) => {
    return { id: name, source: name, repository, status: 'damaged', problem: 'is a link, which is never followed' }
  })
}

interface Dated<T> {
  backup: T
  /** Captured at, or that of an earlier backup of its source when the clock was set back in between. */
  age: number
}

interface ListedRoom {
  dated: Dated<ListedBackup>[]
  apart: Dated<ListedUntrusted>[]
  problems: ListedProblem[]
}

async function listRoom(context: Context, room: SourceRoom): Promise<ListedRoom> {
  const { manifests, apart, broken, proven, problems } = await survey(room, context, { cached: true })
  let age = -Infinity
  const dated = manifests
    .filter(({ id }) => !broken.has(id))
    .map(manifest => {
      age = Math.max(age, Date.parse(manifest.captured_at))
      return { backup: listed(manifest, room, proven.has(manifest.id)), age }
    })
  const untrusted = apart.map(({ member, trust, problem }) => {
    const { label, keep_until, host } = member
    const report = reportOf(member, room.repository.location)
    const backup = { ...report, status: 'untrusted' as const, trust, problem, label, keep_until, host }
    return { backup, age: Date.parse(member.captured_at) }
  })
  return { dated, apart: untrusted, problems }
}

function listed(manifest: Manifest, room: SourceRoom, proven: boolean): ListedBackup {
  const { label, keep_until, host } = manifest
  return { ...reportOf(manifest, room.repository.location), status: 'ok', proven, label, keep_until, host }
}
