import { NexusError } from '../../errors.js'
import { type GlobToken, matchesGlob, parseGlob } from './glob.js'

/** A path that patterns are asked about. */
export interface Candidate {
  /** Absolute, without a slash at its end. */
  path: string
  /** Absolute path of the root it lies below; '' for `/`. */
  root: string
  directory: boolean
}

/** `**`: any number of directories. */
const ANY = '**'
type Part = readonly GlobToken[] | typeof ANY

interface Pattern {
  parts: readonly Part[]
  /** What the parts are held against: the last name, the path below the root, or the absolute path. */
  scope: 'name' | 'root' | 'absolute'
  directoriesOnly: boolean
}

/**
 * Makes one question of several patterns, written as in gitignore(5): without a slash a pattern is held against the last
 * name at any depth (`*.tmp`), with one at its beginning against the absolute path, with one elsewhere against the path
 * below the root; a slash at its end keeps it to directories; `**` stands for any number of directories. What a
 * directory's match means for the content is the caller's: see `walk.ts`.
 *
 * @throws NexusError `configuration` (`pattern_invalid`)
 */
export function compilePatterns(texts: readonly string[]): Patterns {
  const patterns = texts.map(parsePattern)
  if (patterns.length === 0) return { match: () => false, mayMatchBelow: () => false }
  return {
    match: candidate => {
      const scopes = scopesOf(candidate)
      return patterns.some(
        ({ parts, scope, directoriesOnly }) =>
          (candidate.directory || !directoriesOnly) && matchesParts(parts, scopes[scope]),
      )
    },
    mayMatchBelow: directory => {
      const scopes = scopesOf(directory)
      return patterns.some(({ parts, scope }) => scope === 'name' || mayLieBelow(parts, scopes[scope]))
    },
  }
}

export interface Patterns {
  /** Whether any pattern matches the path itself. */
  match(candidate: Candidate): boolean
  /** False when no pattern can match anything inside a directory. */
  mayMatchBelow(directory: Candidate): boolean
}

type Path = readonly (readonly string[])[]

function scopesOf({ path, root }: Candidate): Record<Pattern['scope'], Path> {
  const absolute = path.slice(1).split('/').map(codePoints)
  return {
    absolute,
    root: absolute.slice(root === '' ? 0 : root.split('/').length - 1),
    name: absolute.slice(-1),
  }
}

function mayLieBelow(parts: readonly Part[], directory: Path): boolean {
  for (const [at, name] of directory.entries()) {
    const part = parts[at]
    if (part === ANY) return true
    if (part === undefined || !matchesGlob(part, name)) return false
  }
  return parts.length > directory.length
}

function codePoints(name: string): string[] {
  return [...name]
}

function parsePattern(text: string): Pattern {
  const directoriesOnly = text.endsWith('/')
  const body = directoriesOnly ? text.slice(0, -1) : text
  const absolute = body.startsWith('/')
  const names = (absolute ? body.slice(1) : body).split('/')
  if (names.some(name => name === '' || name === '.' || name === '..')) {
    throw invalid(text, 'it has an empty part, . or ..')
  }
  const parts = names.map(name => {
    const part = name === ANY ? ANY : parseGlob(name)
    if (typeof part === 'string' && part !== ANY) throw invalid(text, part)
    return part
  })
  return { parts, scope: absolute ? 'absolute' : names.length > 1 ? 'root' : 'name', directoriesOnly }
}

/** As matchesGlob does within a name: a `**` that went wrong takes one more directory, and never an earlier one. */
function matchesParts(parts: readonly Part[], path: Path): boolean {
  let part = 0
  let at = 0
  let any = -1
  let resume = 0
  while (at < path.length) {
    const wanted = parts[part]
    if (wanted === ANY) {
      any = part
      resume = at
      part += 1
      // At the end it stands for what lies inside: for at least one name.
      if (part === parts.length) return true
    } else if (wanted !== undefined && matchesGlob(wanted, path[at] ?? [])) {
      part += 1
      at += 1
    } else if (any >= 0) {
      resume += 1
      at = resume
      part = any + 1
    } else return false
  }
  return part === parts.length
}

function invalid(text: string, why: string): NexusError {
  return new NexusError('configuration', 'pattern_invalid', `the pattern ${JSON.stringify(text)} is not one: ${why}`, {
    hint: "patterns are written as in gitignore: '*.tmp', 'cache/', '/opt/app/uploads/tmp/**'",
  })
}
