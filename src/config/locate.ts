import { existsSync, statSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'

/** Who asks, and from where; handed in by the command line. */
export interface Surroundings {
  cwd: string
  uid: number
  home: string
  xdgConfigHome: string | undefined
  xdgStateHome: string | undefined
}

/** The places where a configuration is looked for, first one first. */
export function configurationPlaces(around: Surroundings): string[] {
  const own = base(around.xdgConfigHome, join(around.home, '.config'))
  return ['/etc/nexus-backup/config.yaml', join(own, 'nexus-backup', 'config.yaml')]
}

/** The configuration to read: the one asked for, else the first that is there. */
export function locateConfiguration(asked: string | undefined, around: Surroundings): string | undefined {
  if (asked !== undefined) return resolve(around.cwd, asked)
  return configurationPlaces(around).find(path => existsSync(path))
}

const MACHINE_STATE = '/var/lib/nexus-backup'

/**
 * Where the state lies when nobody says: of the machine for root and for the user to whom that directory belongs, so that
 * both sign with one key; of the user for others.
 */
export function defaultStateDirectory(around: Surroundings, machine: string = MACHINE_STATE): string {
  const owner = statSync(machine, { throwIfNoEntry: false })?.uid
  if (around.uid === 0 || owner === around.uid) return machine
  return join(base(around.xdgStateHome, join(around.home, '.local', 'state')), 'nexus-backup')
}

/** The XDG specification wants a relative path ignored. */
function base(value: string | undefined, fallback: string): string {
  return value !== undefined && isAbsolute(value) ? value : fallback
}
