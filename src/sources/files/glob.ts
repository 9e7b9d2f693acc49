/** One step of a glob: a character, any one character, any number of characters, or one out of ranges. */
export type GlobToken =
  | { kind: 'character'; value: string }
  | { kind: 'one' }
  | { kind: 'many' }
  | { kind: 'class'; negated: boolean; ranges: readonly (readonly [string, string])[] }

/**
 * Reads a glob for one part of a path, as gitignore(5) has them: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character
 * that is meant as it stands.
 *
 * @returns what is wrong with it, as a sentence's end, where it is no glob
 */
export function parseGlob(text: string): readonly GlobToken[] | string {
  const characters = [...text]
  const tokens: GlobToken[] = []
  for (let at = 0; at < characters.length; at += 1) {
    const value = characters[at] ?? ''
    if (value === '\\') {
      at += 1
      const escaped = characters[at]
      if (escaped === undefined) return 'it ends with a lone backslash'
      tokens.push({ kind: 'character', value: escaped })
    } else if (value === '*') {
      if (tokens.at(-1)?.kind !== 'many') tokens.push({ kind: 'many' })
    } else if (value === '?') tokens.push({ kind: 'one' })
    else if (value === '[') {
      const read = parseClass(characters, at + 1)
      if (read === null) return 'a [ has no ]'
      tokens.push(read.token)
      at = read.end
    } else tokens.push({ kind: 'character', value })
  }
  return tokens
}

/** Reads a class from behind its `[`; `end` is the position of its `]`. */
function parseClass(characters: readonly string[], start: number): { token: GlobToken; end: number } | null {
  let at = start
  const negated = characters[at] === '!' || characters[at] === '^'
  if (negated) at += 1
  const ranges: (readonly [string, string])[] = []
  // A `]` that comes first stands for itself.
  for (let first = true; first || characters[at] !== ']'; first = false) {
    const low = memberAt(characters, at)
    if (low === null) return null
    at = low.next
    const high = characters[at] === '-' && characters[at + 1] !== ']' ? memberAt(characters, at + 1) : null
    ranges.push([low.value, high?.value ?? low.value])
    if (high !== null) at = high.next
  }
  return { token: { kind: 'class', negated, ranges }, end: at }
}

function memberAt(characters: readonly string[], at: number): { value: string; next: number } | null {
  const escaped = characters[at] === '\\'
  const value = characters[escaped ? at + 1 : at]
  return value === undefined ? null : { value, next: at + (escaped ? 2 : 1) }
}

/**
 * Whether a name matches from its first to its last character. A star that went wrong is lengthened by one, and never an
 * earlier one: time grows with the product of the two lengths at worst, whatever the pattern.
 */
export function matchesGlob(tokens: readonly GlobToken[], name: readonly string[]): boolean {
  let token = 0
  let at = 0
  let star = -1
  let resume = 0
  while (at < name.length) {
    const wanted = tokens[token]
    if (wanted?.kind === 'many') {
      star = token
      resume = at
      token += 1
    } else if (wanted !== undefined && matchesOne(wanted, name[at] ?? '')) {
      token += 1
      at += 1
    } else if (star >= 0) {
      resume += 1
      at = resume
      token = star + 1
    } else return false
  }
  return tokens.slice(token).every(({ kind }) => kind === 'many')
}

function matchesOne(token: GlobToken, character: string): boolean {
  if (token.kind === 'character') return token.value === character
  if (token.kind === 'class') {
    const code = codeOf(character)
    return token.negated !== token.ranges.some(([low, high]) => codeOf(low) <= code && code <= codeOf(high))
  }
  return true
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0
}
