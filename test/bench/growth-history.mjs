// A long history in seconds: backups that the program made, and copies of them under other ids.
import { createHash } from 'node:crypto'
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')

/** Manifests of a source, oldest first. */
function manifestsIn(directory) {
  return readdirSync(directory)
    .filter(name => /^\d{8}T.*-(full|incr)-[0-9a-f]{4}$/.test(name))
    .map(name => JSON.parse(readFileSync(join(directory, name, 'manifest.json'), 'utf8')))
    .sort((a, b) => a.sequence - b.sequence)
}

/** The id of a copy: minutes apart, from long ago on. */
function idOf(number, type) {
  const instant = new Date(Date.UTC(2020, 0, 1) + number * 60_000).toISOString()
  return `${instant.replaceAll('-', '').replaceAll(':', '')}-${type}-${(number % 65_536).toString(16).padStart(4, '0')}`
}

/**
 * Puts a history in the place of what the program has made: a full and two increments that change the same file, so that
 * the second one can follow upon itself.
 *
 * @param {string} directory of a source in a repository
 * @param {{ backups: number, chain: number }} wanted how many, and how many a chain has
 */
export function makeHistory(directory, { backups, chain }) {
  const [full, first, again] = manifestsIn(directory)
  let parent = null
  for (let number = 0; number < backups; number += 1) {
    const place = number % chain
    const model = place === 0 ? full : place === 1 ? first : again
    const id = idOf(number, model.type)
    const from = join(directory, model.id)
    const to = join(directory, id)
    mkdirSync(to, { mode: 0o700 })
    for (const { name } of model.parts) linkSync(join(from, name), join(to, name))
    const captured = new Date(Date.UTC(2020, 0, 1) + number * 60_000).toISOString()
    const manifest = { ...model, id, sequence: number + 1, captured_at: captured, parent: place === 0 ? null : parent }
    const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
    const sums = [...model.parts, { name: 'manifest.json', sha256: sha256(text) }]
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
      .map(({ name, sha256: digest }) => `${digest}  ${name}\n`)
    writeFileSync(join(to, 'manifest.json'), text, { mode: 0o600 })
    writeFileSync(join(to, 'SHA256SUMS'), sums.join(''), { mode: 0o600 })
    parent = id
  }
  for (const { id } of [full, first, again]) rmSync(join(directory, id), { recursive: true })
}
