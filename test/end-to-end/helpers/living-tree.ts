import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { differences, noise, portrait } from '../../sources/files/trees.js'
import { type FilesPlace, filesPlace, fillTree } from './tree.js'

export interface Created {
  backups: { id: string; type: string; bytes_stored: number; bytes_source: number; warnings: string[] }[]
}

/** Takes a backup, and fails the test unless it ends with this status. */
export async function create(place: FilesPlace, args: readonly string[] = [], status = 0) {
  const [backup] = ((await place.json('create', ['up', '--init', ...args], { status })) as Created).backups
  if (backup === undefined) throw new Error('no backup was made')
  return backup
}

/** Both roots, as they are now. */
export function picture({ uploads, logs }: { uploads: string; logs: string }) {
  return { uploads: portrait(uploads), logs: portrait(logs) }
}

/** The roots, as they lie below a directory that they were restored to. */
export function below(directory: string, { uploads, logs }: FilesPlace) {
  return { uploads: join(directory, uploads), logs: join(directory, logs) }
}

type Picture = ReturnType<typeof picture>

/** What differs between two pictures; empty when they are the same. */
export function differ(actual: Picture, expected: Picture): string[] {
  return [...differences(actual.uploads, expected.uploads), ...differences(actual.logs, expected.logs)]
}

/** What happens to attachments and logs between two backups. */
export function liveOn({ uploads, logs }: FilesPlace, round: number): void {
  const inTicket = (name: string) => join(uploads, 'ticket-1', name)
  mkdirSync(join(uploads, `new-${round}`))
  for (let at = 0; at < 20; at += 1) writeFileSync(join(uploads, `new-${round}`, `${at}`), noise(at * 1000, at + round))
  const names = readdirSync(join(uploads, 'ticket-1'))
    .filter(name => name.startsWith('attachment'))
    .sort()
  for (const name of names.slice(0, 10)) rmSync(inTicket(name))
  for (const name of names.slice(10, 20)) renameSync(inTicket(name), inTicket(`renamed-${round}-${name}`))
  if (existsSync(join(uploads, 'ticket-2'))) renameSync(join(uploads, 'ticket-2'), join(uploads, 'ticket-2-closed'))
  chmodSync(inTicket(names.at(-1) ?? ''), 0o600 + round)
  truncateSync(join(uploads, 'large.bin'), 4_000_000 - round * 7)
  unlinkSync(join(uploads, 'latest'))
  symlinkSync(`new-${round}/1`, join(uploads, 'latest'))
  linkSync(join(uploads, `new-${round}`, '3'), join(uploads, `linked-${round}`))
  // A file becomes a directory, and the other way round.
  rmSync(join(uploads, 'shape'), { recursive: true, force: true })
  if (round % 2 === 1) mkdirSync(join(uploads, 'shape'))
  else writeFileSync(join(uploads, 'shape'), 'a file')
  renameSync(join(logs, 'app.log.1'), join(logs, `app.log.${round + 1}`))
  renameSync(join(logs, 'app.log'), join(logs, 'app.log.1'))
  writeFileSync(join(logs, 'app.log'), noise(100_000, round))
  appendFileSync(join(logs, 'audit.log'), noise(50_000, round))
}

/**
 * Takes a chain of all types over so many files, which are renamed, deleted, replaced and appended to between the runs, and
 * proves that it gives back what was there: over increments, and over a diff.
 */
export async function proveChain(files: number): Promise<void> {
  const place = filesPlace()
  fillTree(place, files)
  const pictures: [string, Picture][] = []
  const full = await create(place)
  pictures.push([full.id, picture(place)])
  for (const [round, type] of (['incr', 'incr', 'diff', 'incr'] as const).entries()) {
    liveOn(place, round + 1)
    const { id, type: made, bytes_stored: bytes, warnings } = await create(place, ['--type', type])
    expect([made, warnings]).toEqual([type, []])
    expect(bytes).toBeLessThan(full.bytes_stored / 5)
    pictures.push([id, picture(place)])
  }
  // full, incr, incr; and full, diff, incr. What the others hold is verified below.
  for (const [id, expected] of [pictures[2], pictures[4]].filter(made => made !== undefined)) {
    const to = join(place.room, `to-${id.slice(-4)}`)
    await place.json('restore', [id, '--to', to])
    expect(differ(picture(below(to, place)), expected)).toEqual([])
    rmSync(to, { recursive: true })
  }
  await place.json('verify', [])
}
