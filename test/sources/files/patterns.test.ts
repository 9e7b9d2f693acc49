import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type GlobToken, matchesGlob, parseGlob } from '../../../src/sources/files/glob.js'
import { compilePatterns } from '../../../src/sources/files/patterns.js'

function matches(pattern: string, path: string, { root = '/srv/up', directory = false } = {}): boolean {
  return compilePatterns([pattern]).match({ path, root, directory })
}

function tokensOf(text: string): readonly GlobToken[] {
  const tokens = parseGlob(text)
  if (typeof tokens === 'string') throw new Error(tokens)
  return tokens
}

/** The meaning of a glob, without a thought for time. */
function means(tokens: readonly GlobToken[], name: readonly string[]): boolean {
  const [token, ...rest] = tokens
  if (token === undefined) return name.length === 0
  if (token.kind === 'many') return means(rest, name) || (name.length > 0 && means(tokens, name.slice(1)))
  return name.length > 0 && matchesGlob([token], name.slice(0, 1)) && means(rest, name.slice(1))
}

/** The meaning of a pattern of several names. */
function pathMeans(parts: readonly string[], path: readonly string[]): boolean {
  const [part, ...rest] = parts
  if (part === undefined) return path.length === 0
  if (part !== '**')
    return path.length > 0 && means(tokensOf(part), [...(path[0] ?? '')]) && pathMeans(rest, path.slice(1))
  if (rest.length === 0) return path.length > 0
  return pathMeans(rest, path) || (path.length > 0 && pathMeans(parts, path.slice(1)))
}

describe('globs', () => {
  it.each([
    ['*.tmp', 'a.tmp', true],
    ['*.tmp', '.tmp', true],
    ['*.tmp', 'a.tmp.gz', false],
    ['a?c', 'a😀c', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[]x]', ']', true],
    ['[a-]', '-', true],
    ['[\\]]', ']', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['A*', 'ab', false],
    ['**', 'anything', true],
  ])('%s against %s is %s', (glob, name, expected) => {
    expect(matchesGlob(tokensOf(glob), [...name])).toBe(expected)
  })

  it('mean what their definition says, whatever stars they have', () => {
    const glob = fc.array(fc.constantFrom('a', 'b', '*', '?', '[ab]', '[!a]'), { maxLength: 8 })
    const name = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 9 })
    fc.assert(
      fc.property(glob, name, (parts, characters) => {
        const tokens = tokensOf(parts.join(''))
        expect(matchesGlob(tokens, characters)).toBe(means(tokens, characters))
      }),
      { numRuns: 2000 },
    )
  })
})

describe('patterns', () => {
  it.each([
    // Without a slash: the last name, at any depth.
    ['*.tmp', '/srv/up/a/b/x.tmp', true],
    ['cache', '/srv/up/a/cache', true],
    // What lies below a match is the walk's matter.
    ['cache', '/srv/up/cache/x', false],
    // The names of the root itself are not asked.
    ['srv', '/srv/up/a', false],
    // With a slash at the beginning: absolute.
    ['/srv/up/tmp/**', '/srv/up/tmp/a/b', true],
    ['/srv/up/tmp/**', '/srv/up/tmp', false],
    ['/srv/*/a', '/srv/up/a', true],
    ['/srv/*', '/srv/up/a', false],
    // With a slash elsewhere: below the root.
    ['a/b', '/srv/up/a/b', true],
    ['a/b', '/srv/up/x/a/b', false],
    ['**/a/b', '/srv/up/x/y/a/b', true],
    ['**/a/b', '/srv/up/a/b', true],
    ['a/**/b', '/srv/up/a/b', true],
    ['a/**/b', '/srv/up/a/x/y/b', true],
    ['up/a', '/srv/up/a', false],
  ])('%s against %s is %s', (pattern, path, expected) => {
    expect(matches(pattern, path)).toBe(expected)
  })

  it('with a slash at its end keeps to directories', () => {
    expect(matches('cache/', '/srv/up/cache', { directory: true })).toBe(true)
    expect(matches('cache/', '/srv/up/cache')).toBe(false)
  })

  it('below the root / are held against the whole path', () => {
    expect(matches('etc/*.conf', '/etc/a.conf', { root: '' })).toBe(true)
  })

  it('mean what their definition says, whatever ** they have', () => {
    const part = fc.constantFrom('a', 'b', '**', '*', 'a*')
    const names = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), names, (parts, path) => {
        expect(matches(`/${parts.join('/')}`, `/${path.join('/')}`)).toBe(pathMeans(parts, path))
      }),
      { numRuns: 2000 },
    )
  })

  it('never rule out a directory that holds a match', () => {
    const part = fc.constantFrom('a', 'b', '**', '*', 'a*')
    const names = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 2, maxLength: 6 })
    const lead = fc.constantFrom('', '/')
    fc.assert(
      fc.property(lead, fc.array(part, { minLength: 1, maxLength: 6 }), names, (slash, parts, path) => {
        const patterns = compilePatterns([slash + parts.join('/')])
        const candidate = { root: '/r', path: `/r/${path.join('/')}`, directory: false }
        const above = { root: '/r', path: `/r/${path.slice(0, -1).join('/')}`, directory: true }
        if (patterns.match(candidate)) expect(patterns.mayMatchBelow(above)).toBe(true)
      }),
    )
    const far = compilePatterns(['/srv/up/x/*.log', 'sub/keep'])
    expect(far.mayMatchBelow({ root: '/srv/up', path: '/srv/up/y', directory: true })).toBe(false)
    expect(far.mayMatchBelow({ root: '/srv/up', path: '/srv/up/sub', directory: true })).toBe(true)
  })

  it('made to take for ever end all the same', () => {
    const name = 'a'.repeat(255)
    expect(matches(`${'a*'.repeat(100)}b`, `/srv/up/${name}`)).toBe(false)
    const deep = `/${Array.from({ length: 2000 }, () => 'a').join('/')}`
    expect(matches(`/${'**/a/'.repeat(200)}b`, deep)).toBe(false)
  })

  it.each(['', '/', 'a//b', '../x', 'a/./b', '[a', 'x\\', 'a/[/b'])('%j is refused', pattern => {
    expect(() => compilePatterns([pattern])).toThrow(expect.objectContaining({ code: 'pattern_invalid' }))
  })
})
