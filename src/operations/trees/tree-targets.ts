import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { NexusError } from '../../errors.js'
import { describe, describeUsers } from '../../sources/sqlite/users.js'
import { mountsOf } from '../../system/mount-namespaces.js'
import { nameExists as exists } from '../../system/names.js'
import { shellQuoted } from '../shell.js'
import { mountPointsIn } from './mount-points.js'
import { runningServer } from './running-server.js'
import type { TreeMove } from './tree-swap.js'

/**
 * Refuses what could not be carried out to the end, or would do more than it says.
 *
 * @throws NexusError `refused` (`nested_targets`, `target_is_mount_point`, `mounted_elsewhere`, `set_aside_exists`,
 *   `server_running`), `not-found` (`target_directory_missing`), `failed` (`target_not_writable`)
 * @param service a unit that will be stopped, and a server with it
 */
export function assertReplaceable(source: string, moves: readonly TreeMove[], service: string | null): void {
  for (const { target, previous } of moves) {
    assertBesideWritable(target)
    assertNoMountPoint(source, target)
    if (service === null) {
      assertNoServer(target)
      assertNotMountedElsewhere(source, target)
    }
    assertDistinct(target, moves)
    // Nothing that a failing restore takes back may be of an earlier one.
    if (!exists(previous)) continue
    throw new NexusError('refused', 'set_aside_exists', `${previous} exists already and is never overwritten`, {
      hint: 'run it again',
    })
  }
}

function assertNoServer(target: string): void {
  const pid = runningServer(target)
  if (pid === null) return
  throw new NexusError('refused', 'server_running', `a PostgreSQL server (process ${pid}) runs in ${target}`, {
    hint: 'stop it first, or configure its unit as service: so that it is stopped and started around the restore',
  })
}

function assertBesideWritable(target: string): void {
  const directory = dirname(target)
  if (!exists(directory)) {
    throw new NexusError(
      'not-found',
      'target_directory_missing',
      `there is no directory ${directory} to restore into`,
      {
        hint: `make it first: mkdir -p ${directory}`,
      },
    )
  }
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new NexusError('failed', 'target_not_writable', `nothing can be renamed in ${directory}`, {
      hint: 'run as root, or restore to another place with --to PATH',
      cause: error,
    })
  }
}

function assertNoMountPoint(source: string, target: string): void {
  if (!exists(target)) return
  const [point] = mountPointsIn(target)
  if (point === undefined) return
  throw new NexusError(
    'refused',
    'target_is_mount_point',
    `${target} cannot be replaced in one step: ${point === target ? 'it' : point} is a mount point`,
    { hint: `restore it beside and copy what you need: nexus-backup restore ${source} --to PATH` },
  )
}

/** Who sees it through a mount of its own, such as a container's, would go on with what is set aside. */
function assertNotMountedElsewhere(source: string, target: string): void {
  if (!exists(target)) return
  const [mount] = mountsOf(target, { inside: true }).filter(({ point, pid }) => pid !== null || point !== target)
  if (mount === undefined) return
  const { point, pid } = mount
  const who = pid === null ? '' : ` for ${describeUsers([describe(pid)])}`
  const message = `${target}, or something in it, is mounted as ${point}${who}, where what it is now would stay in use`
  const first =
    pid === null
      ? `unmount it first: umount ${shellQuoted(point)}`
      : 'stop that program or its container first, or configure its unit as service:'
  throw new NexusError('refused', 'mounted_elsewhere', message, {
    hint: `${first}; or restore it beside and copy what you need: nexus-backup restore ${source} --to PATH`,
  })
}

function assertDistinct(target: string, moves: readonly TreeMove[]): void {
  const same = moves.filter(move => move.target === target).length > 1
  const outer = moves.find(move => target.startsWith(`${move.target}/`))
  if (!same && outer === undefined) return
  throw new NexusError(
    'refused',
    'nested_targets',
    `${target} lies in ${outer?.target ?? 'the same place'} as another root`,
    { hint: 'restore with --to PATH instead' },
  )
}
