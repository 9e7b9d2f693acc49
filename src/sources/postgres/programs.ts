import { accessSync, constants, readdirSync, realpathSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'

/** A directory of PostgreSQL's programs. */
export interface Programs {
  directory: string
  major: number
  /** As the programs tell it: `15.18`, `19beta1`. */
  version: string
}

/** Where to look. */
export interface ProgramSearch {
  /** From the configuration: only there. */
  binDirectory: string | null
  /** `PATH`. */
  path: string | undefined
  /** Directories that hold one directory a version; Debian's and PGDG's by default. */
  roots?: readonly VersionedRoot[]
}

/** `PARENT/<prefix>15/bin` */
export interface VersionedRoot {
  parent: string
  prefix: string
}

/** What is looked for. */
export interface WantedPrograms {
  /** Major version of the server; null before it is known: the newest. */
  major: number | null
  /** Only this version will do: for running a server. Otherwise a newer one will too, clients speak to older servers. */
  exact: boolean
  /** Programs that must be there. */
  programs: readonly string[]
}

const packaged: readonly VersionedRoot[] = [
  { parent: '/usr/lib/postgresql', prefix: '' },
  { parent: '/usr', prefix: 'pgsql-' },
  { parent: '/usr/local', prefix: 'pgsql-' },
]

/** Programs that come with the client's package; any other needs the server's. */
const clientPrograms = [
  'psql',
  'pg_basebackup',
  'pg_dump',
  'pg_restore',
  'pg_amcheck',
  'pg_verifybackup',
  'pg_receivewal',
]

/**
 * Finds PostgreSQL's programs for a server: the configured directory, else packages' directories by version, else what
 * `pg_config` and `PATH` name. Debian's `/usr/bin/psql` is a wrapper that picks a version by rules of its own and is
 * passed over.
 *
 * @throws NexusError `programs_missing` naming the package, `programs_version` for a configured directory of another version
 */
export async function findPrograms(search: ProgramSearch, wanted: WantedPrograms): Promise<Programs> {
  const complete = (directory: string) => wanted.programs.every(name => isProgram(join(directory, name)))
  const [probe = 'psql'] = wanted.programs
  if (search.binDirectory !== null) return configured(search.binDirectory, wanted, complete, probe)
  const versioned = (search.roots ?? packaged).flatMap(versionsBelow).filter(({ directory }) => complete(directory))
  const best = versioned.filter(({ major }) => fits(major, wanted)).sort(byNearness(wanted.major))[0]
  if (best !== undefined) return { ...best, version: await versionOf(join(best.directory, probe)) }
  for (const directory of await pathDirectories(search.path)) {
    if (!complete(directory)) continue
    const version = await versionOf(join(directory, probe))
    if (fits(majorOf(version), wanted)) return { directory, major: majorOf(version), version }
  }
  throw missing(wanted, 'looked in the packages’ directories and along PATH')
}

async function configured(
  directory: string,
  wanted: WantedPrograms,
  complete: (directory: string) => boolean,
  probe: string,
): Promise<Programs> {
  if (!complete(directory)) throw missing(wanted, `bin_directory says ${directory}`)
  const version = await versionOf(join(directory, probe))
  const major = majorOf(version)
  if (fits(major, wanted)) return { directory, major, version }
  const needed = `${wanted.major}${wanted.exact ? '' : ' or newer'}`
  throw new NexusError(
    'configuration',
    'programs_version',
    `the programs in ${directory} are of PostgreSQL ${version}, the server needs ${needed}`,
    { hint: 'correct bin_directory, or leave it out: the programs are then looked for by version' },
  )
}

function fits(major: number, wanted: WantedPrograms): boolean {
  if (wanted.major === null) return true
  return wanted.exact ? major === wanted.major : major >= wanted.major
}

/** The server's own version first, then the next newer one; the newest while the server's is not known. */
function byNearness(wanted: number | null): (a: VersionedDirectory, b: VersionedDirectory) => number {
  return (a, b) => (wanted === null ? b.major - a.major : a.major - b.major)
}

type VersionedDirectory = Omit<Programs, 'version'>

function versionsBelow({ parent, prefix }: VersionedRoot): VersionedDirectory[] {
  return namesIn(parent).flatMap(name => {
    const digits = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    return /^\d{2}$/.test(digits) ? [{ directory: join(parent, name, 'bin'), major: Number(digits) }] : []
  })
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

async function pathDirectories(path: string | undefined): Promise<string[]> {
  const directories = (path ?? '').split(delimiter).filter(directory => directory.startsWith('/'))
  const config = directories.map(directory => join(directory, 'pg_config')).find(isProgram)
  if (config === undefined) return directories
  const { execa } = await import('execa')
  const { stdout, exitCode } = await execa(config, ['--bindir'], {
    env: noSecrets,
    reject: false,
    stdin: 'ignore',
    timeout: 30_000,
  })
  return exitCode === 0 && stdout.startsWith('/') ? [stdout.trim(), ...directories] : directories
}

/** The third word of `psql (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`. */
async function versionOf(program: string): Promise<string> {
  const { execa } = await import('execa')
  const { stdout } = await execa(program, ['--version'], {
    env: noSecrets,
    reject: false,
    stdin: 'ignore',
    timeout: 30_000,
  })
  const version = /\(PostgreSQL\) (\d+\S*)/.exec(typeof stdout === 'string' ? stdout : '')?.[1]
  if (version !== undefined) return version
  throw new NexusError('failed', 'programs_broken', `${program} does not tell its version`, {
    hint: `see what it says: ${program} --version`,
  })
}

function majorOf(version: string): number {
  return Number.parseInt(version, 10)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return basename(realpathSync(path)) !== 'pg_wrapper'
  } catch {
    return false
  }
}

function missing({ programs, major, exact }: WantedPrograms, where: string): NexusError {
  const version = major === null ? 'PostgreSQL' : `PostgreSQL ${major}${exact ? '' : ' or newer'}`
  const server = programs.some(name => !clientPrograms.includes(name))
  const number = major === null ? '' : String(major)
  const debian = `postgresql${server ? '' : '-client'}${number === '' ? '' : `-${number}`}`
  const redHat = `postgresql${number}${server ? '-server' : ''}`
  return new NexusError('failed', 'programs_missing', `${programs.join(', ')} of ${version} not found: ${where}`, {
    hint: `install them: apt-get install ${debian} (Debian, Ubuntu) or dnf install ${redHat} (Red Hat); or name their directory in the configuration: bin_directory`,
  })
}
