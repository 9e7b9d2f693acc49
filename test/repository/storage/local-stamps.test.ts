import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { LocalStorage } from '../../../src/repository/storage/local.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** More than are looked at before it is known how near the disk is. */
const MANY = 100

async function withFiles() {
  const path = temporaryDirectory()
  for (let number = 0; number < MANY; number += 1) {
    mkdirSync(join(path, 'itsm', `${number}`), { recursive: true })
    writeFileSync(join(path, 'itsm', `${number}`, 'manifest.json'), 'x')
  }
  const storage = await LocalStorage.open(path)
  const names = Array.from({ length: MANY }, (_, number) => `${number}/manifest.json`)
  return { path, file: (number: number) => join(path, 'itsm', `${number}`, 'manifest.json'), names, storage }
}

/** Changes a file to as many bytes with the time that it had, as soon as the clock of the file system has gone on. */
function changeUnseen(path: string): void {
  const { atime, mtime, ctimeMs } = statSync(path)
  do {
    writeFileSync(path, 'z')
    utimesSync(path, atime, mtime)
  } while (statSync(path).ctimeMs === ctimeMs)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each(['near', 'far'])('stamps of files on a disk that is %s', distance => {
  const slow = () => {
    let now = 0
    if (distance === 'far') vi.spyOn(performance, 'now').mockImplementation(() => (now += 50))
  }

  test('tell which file changed in any way, and of what is none', async () => {
    slow()
    const { file, names, storage } = await withFiles()
    const before = await storage.stampsOf('itsm', names)
    expect(before.every(stamp => stamp !== undefined)).toBe(true)
    appendFileSync(file(80), 'y')
    changeUnseen(file(90))
    renameSync(file(81), file(82))
    rmSync(file(83))
    mkdirSync(file(83))
    renameSync(file(84), `${file(84)}.2`)
    symlinkSync(`${file(84)}.2`, file(84))
    const after = await storage.stampsOf('itsm', names)
    const changed = names.flatMap((_, n) => (JSON.stringify(before[n]) === JSON.stringify(after[n]) ? [] : [n]))
    expect(changed).toEqual([80, 81, 82, 83, 84, 90])
    expect([81, 83, 84].map(n => after[n])).toEqual([undefined, undefined, undefined])
  })

  test('are of no file behind a link in the place of the source, and none where nothing is asked', async () => {
    slow()
    const { path, names, storage } = await withFiles()
    expect(await storage.stampsOf('none', [])).toEqual([])
    await expect(storage.stampsOf('none', names)).rejects.toMatchObject({ kind: 'not-found' })
    renameSync(join(path, 'itsm'), join(path, 'other'))
    symlinkSync(join(path, 'other'), join(path, 'itsm'))
    await expect(storage.stampsOf('itsm', names)).rejects.toMatchObject({ kind: 'damage' })
  })
})
