import type { FileVersion } from '../../operations/list/file-history.js'
import type { ListedFile } from '../../operations/list/listed-file.js'
import { shown } from '../../system/file-names.js'
import { counted, humanTime } from './format.js'

const LETTERS: Readonly<Record<ListedFile['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  // The same file as the one it names.
  hardlink: '-',
  fifo: 'p',
  'character-device': 'c',
  'block-device': 'b',
}

/** A line as ls -l has it: mode, owner, size, time, name. */
export function fileLine(file: ListedFile, zone: string): string {
  const { type, path, link, modified } = file
  const arrow = link === undefined ? '' : ` ${type === 'hardlink' ? 'link to' : '->'} ${shown(link)}`
  return `${modeOf(file)}  ${ownerOf(file).padEnd(17)}  ${String(file.size).padStart(12)}  ${humanTime(modified, zone)}  ${shown(path)}${arrow}\n`
}

/** A version of a file, and which backups hold it. */
export function versionLines(version: FileVersion, zone: string): string {
  const { first, last, backups } = version
  const range = first === last ? `in ${last}` : `in ${counted(backups, 'backup')}, from ${first} to ${last}`
  return `${fileLine(version, zone)}    ${range}\n`
}

function ownerOf({ owner, group, uid, gid }: ListedFile): string {
  return `${owner === '' ? uid : owner}:${group === '' ? gid : group}`
}

/** `-rwxr-sr-t` of four octal digits. */
export function modeOf({ type, mode }: Pick<ListedFile, 'type' | 'mode'>): string {
  const bits = Number.parseInt(mode, 8)
  const triple = (shift: number, special: number, letter: string) => {
    const has = (bit: number) => ((bits >> shift) & bit) !== 0
    const executes = has(1)
    const isSpecial = (bits & special) !== 0
    const last = isSpecial ? (executes ? letter : letter.toUpperCase()) : executes ? 'x' : '-'
    return `${has(4) ? 'r' : '-'}${has(2) ? 'w' : '-'}${last}`
  }
  return `${LETTERS[type]}${triple(6, 0o4000, 's')}${triple(3, 0o2000, 's')}${triple(0, 0o1000, 't')}`
}
