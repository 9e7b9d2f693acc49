/** Deepest nesting we accept; our own files stay below ten. */
const depthLimit = 64
/** Most members of arrays and objects: a few bytes of text make an object of many in memory. */
const memberLimit = 500_000

/**
 * Parses JSON that came from outside. Throws a plain Error with a sentence when it is not UTF-8, not JSON,
 * or so deep or with so many members that it would exhaust stack or memory.
 * @param most members that arrays and objects may have together
 */
export function parseOutsideJson(bytes: Uint8Array, most = memberLimit): unknown {
  const counted = countMembers(bytes, most)
  if (typeof counted === 'string') throw new Error(counted)
  const text = decode(bytes)
  try {
    return JSON.parse(text)
  } catch (cause) {
    // V8 quotes the text itself in its message: it may hold anything, so it stays in the cause.
    throw new Error('it is not JSON', { cause })
  }
}

/** JSON with keys in order and no space, so that a digest over it has one meaning. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const fields = Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`)
  return `{${fields.join(',')}}`
}

/** How our files are written: readable in a disaster. */
export function prettyJson(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}

/** Whether bytes are the very ones that `prettyJson` makes of what they say, down to the line feed at the end. */
export function isPrettyJson(bytes: Uint8Array, value: unknown): boolean {
  return prettyJson(value).equals(bytes)
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new Error('it is not UTF-8', { cause })
  }
}

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d

/** Bytes that a document takes in memory at most, about: two for a character, and what V8 needs for a member. */
export function memoryOfJson(bytes: Uint8Array): number {
  const members = countMembers(bytes, Infinity)
  return memoryOfText(bytes.length) + (typeof members === 'string' ? 0 : members * MEMBER_BYTES)
}

/** The same of a text of so many bytes alone. */
export function memoryOfText(bytes: number): number {
  return bytes * 2
}

const MEMBER_BYTES = 100

/**
 * Counts brackets and commas outside strings; text that is not JSON may be miscounted, and then fails to parse.
 * @returns a sentence where there are too many, or they are nested too deep
 */
function countMembers(bytes: Uint8Array, most: number): number | string {
  let depth = 0
  let members = 0
  let inString = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (inString) {
      if (byte === backslash) at++
      else if (byte === quote) inString = false
    } else if (byte === quote) inString = true
    else if (byte === comma) members++
    else if (byte === openBrace || byte === openBracket) {
      depth++
      members++
      if (depth > depthLimit) return `it is nested deeper than ${depthLimit} levels`
    } else if (byte === closeBrace || byte === closeBracket) depth--
    if (members > most) return `it has more than ${most} members`
  }
  return members
}
