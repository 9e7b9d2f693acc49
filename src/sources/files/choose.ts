import { distance } from 'fastest-levenshtein'
import { NexusError } from '../../errors.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { compilePatterns, type Patterns } from './patterns.js'

/** Which entries of a backup are meant. */
export interface ChoiceRules {
  /** Nothing else is taken; everything where there are none. A directory is taken with all that it holds. */
  include: readonly string[]
  /** Left out all the same, a directory with all that it holds. */
  exclude: readonly string[]
}

interface State {
  included: boolean
  excluded: boolean
}

/** Chooses entries of a tree by patterns as the rules of a source have them, see `patterns.ts`. */
export class Chooser {
  readonly #includes: { text: string; patterns: Patterns; matched: boolean }[]
  readonly #excludes: Patterns
  /** Names and paths below a root mean nothing above all roots. */
  readonly #excludesAbove: Patterns
  /** Absolute paths, the longest first. */
  readonly #roots: readonly string[]
  /** Of directories, by absolute path. */
  readonly #states = new Map<string, State>([['', { included: false, excluded: false }]])

  /**
   * @param roots absolute paths below which the entries lie
   * @throws NexusError `usage` (`pattern_invalid`)
   */
  constructor({ include, exclude }: ChoiceRules, roots: readonly string[]) {
    this.#includes = include.map(text => ({ text, patterns: compiled([text]), matched: false }))
    this.#excludes = compiled(exclude)
    this.#excludesAbove = compiled(exclude.filter(isAbsolute))
    this.#roots = roots.map(root => (root === '/' ? '' : root)).sort((a, b) => b.length - a.length)
  }

  /** Whether an entry is meant. */
  wants({ path, type }: Pick<TreeEntry, 'path' | 'type'>): boolean {
    const { included, excluded } = this.#stateOf(`/${path}`, type === 'directory')
    return (included || this.#includes.length === 0) && !excluded
  }

  /** Patterns of `include` that nothing has matched so far. */
  unmatched(): string[] {
    return this.#includes.flatMap(({ text, matched }) => (matched ? [] : [text]))
  }

  #stateOf(path: string, directory: boolean): State {
    const known = directory ? this.#states.get(path) : undefined
    if (known !== undefined) return known
    const above = this.#stateOf(path.slice(0, path.lastIndexOf('/')), true)
    const root = this.#roots.find(one => path === one || path.startsWith(`${one}/`))
    const candidate = { path, root: root ?? path, directory }
    let { included } = above
    for (const include of this.#includes) {
      // All are asked until they have matched: one that matches nothing is a mistake.
      if ((include.matched && included) || (root === undefined && !isAbsolute(include.text))) continue
      if (!include.patterns.match(candidate)) continue
      include.matched = true
      included = true
    }
    const excludes = root === undefined ? this.#excludesAbove : this.#excludes
    const state = { included, excluded: above.excluded || excludes.match(candidate) }
    if (directory) this.#states.set(path, state)
    return state
  }
}

function isAbsolute(pattern: string): boolean {
  return pattern.startsWith('/')
}

function compiled(texts: readonly string[]): Patterns {
  try {
    return compilePatterns(texts)
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    throw new NexusError('usage', error.code, error.message, error.hint === undefined ? {} : { hint: error.hint })
  }
}

/** A pattern that matches this absolute path and nothing else. */
export function patternOf(path: string): string {
  return path.replace(/[\\*?[]/g, '\\$&')
}

/** So many names are told that may have been meant. */
const NEAR = 3

/** Gathers the paths whose last names are most like the last name of a pattern. */
export class NearNames {
  readonly #wanted: string
  readonly #best: { path: string; far: number }[] = []

  constructor(pattern: string) {
    this.#wanted = plainName(pattern)
  }

  look(path: string): void {
    if (this.#wanted === '') return
    const far = farness(this.#wanted, path.slice(path.lastIndexOf('/') + 1).toLowerCase())
    if (far >= (this.#best[NEAR - 1]?.far ?? Infinity)) return
    this.#best.push({ path, far })
    this.#best.sort((a, b) => a.far - b.far)
    this.#best.length = Math.min(this.#best.length, NEAR)
  }

  /** The nearest first; empty when nothing is near. */
  paths(): string[] {
    return this.#best.map(({ path }) => path)
  }
}

/** The last name of a pattern without what stands for other characters. */
function plainName(pattern: string): string {
  const names = pattern.split('/').filter(name => name !== '' && name !== '**')
  return (names.at(-1) ?? '').replace(/\[[^\]]*\]|[*?\\]/g, '').toLowerCase()
}

/** How unlike two names are; infinite where nobody can have mistaken one for the other. */
function farness(wanted: string, name: string): number {
  if (name === wanted) return 0
  if (wanted.length >= 3 && name.includes(wanted)) return 1
  const longest = Math.max(wanted.length, name.length)
  // Two neighbouring letters changed over are a distance of 2.
  const tolerated = longest < 4 ? 1 : Math.max(2, Math.floor(longest / 4))
  if (Math.abs(wanted.length - name.length) > tolerated) return Infinity
  const far = distance(wanted, name)
  return far <= tolerated ? 1 + far : Infinity
}
