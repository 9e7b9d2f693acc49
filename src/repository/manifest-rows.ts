import type { Manifest } from './manifest.js'

/**
 * Many manifests in the room of few: the names of their fields stand once for all that have the same, and what several hold
 * (versions, roots, settings) once for all of them. To parse that takes half the time that the manifests take.
 */
export interface ManifestRows {
  /** Names of fields: a manifest's own, then those of its `facts`. */
  shapes: Shape[]
  /** What several of them hold. */
  values: unknown[]
  /** For each manifest the number of its shape, and its fields' values, or their numbers among `values`. */
  rows: unknown[][]
}

interface Shape {
  keys: string[]
  /** Of these the values stand among `values`. */
  shared: boolean[]
  /** So many of them are the manifest's own. */
  own: number
}

/** Puts manifests into rows. */
export function toRows(manifests: readonly Manifest[]): ManifestRows {
  const counts = new Map<string, number>()
  const fields = manifests.map(fieldsOf)
  for (const { values } of fields) {
    for (const value of values) if (isObject(value)) count(counts, JSON.stringify(value))
  }
  const shapes = new Map<string, { number: number; shape: Shape }>()
  const shared = new Map<string, number>()
  const rows = fields.map(({ keys, values, own }) => {
    const texts = values.map(value => (isObject(value) ? JSON.stringify(value) : undefined))
    const flags = texts.map(text => text !== undefined && (counts.get(text) ?? 0) > 1)
    const name = JSON.stringify([own, keys, flags])
    const known = shapes.get(name) ?? { number: shapes.size, shape: { keys, shared: flags, own } }
    shapes.set(name, known)
    const row = values.map((value, at) => {
      const text = texts[at]
      if (text === undefined || flags[at] !== true) return value
      const number = shared.get(text) ?? shared.size
      shared.set(text, number)
      return number
    })
    return [known.number, ...row]
  })
  const values = [...shared.keys()].map(text => JSON.parse(text) as unknown)
  return { shapes: [...shapes.values()].map(({ shape }) => shape), values, rows }
}

/** The manifests that `toRows` was given. What several hold is one object and must not be changed. */
export function fromRows({ shapes, values, rows }: ManifestRows): Manifest[] {
  return rows.map(row => {
    const { keys, shared, own } = shapes[row[0] as number] as Shape
    const manifest: Record<string, unknown> = {}
    const facts: Record<string, unknown> = {}
    for (let at = 0; at < keys.length; at += 1) {
      const value = row[at + 1]
      const fields = at < own ? manifest : facts
      put(fields, keys[at] as string, shared[at] === true ? values[value as number] : value)
    }
    manifest.facts = facts
    return manifest as Manifest
  })
}

/** A field of any name, as a parser makes it. */
function put(fields: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== '__proto__') fields[key] = value
  else Object.defineProperty(fields, key, { value, enumerable: true, configurable: true, writable: true })
}

function fieldsOf({ facts, ...manifest }: Manifest): { keys: string[]; values: unknown[]; own: number } {
  const own = Object.keys(manifest)
  const keys = [...own, ...Object.keys(facts)]
  return { keys, values: [...Object.values(manifest), ...Object.values(facts)], own: own.length }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

function count(counts: Map<string, number>, text: string): void {
  counts.set(text, (counts.get(text) ?? 0) + 1)
}
