import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { makeTooDeep, tooDeepFile } from '../../helpers/too-deep.js'
import { noise } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

// A file system that keeps any time.
const anyTime = existsSync('/dev/shm')
if (anyTime) vi.stubEnv('TMPDIR', '/dev/shm')

/** What is odd, and what the result says of it; null where nothing is lost. */
const odd: [string, (place: Directories) => string | null][] = [
  [
    'names of 255 bytes',
    ({ uploads }) => {
      for (const name of ['a'.repeat(255), '日'.repeat(85)]) writeFileSync(join(uploads, name), name)
      writeFileSync(Buffer.concat([Buffer.from(`${uploads}/`), Buffer.alloc(255, 0xff)]), 'bytes')
      return null
    },
  ],
  [
    'a link to 4095 bytes that are no UTF-8',
    ({ uploads }) => {
      symlinkSync(Buffer.alloc(4095, 0xfe), join(uploads, 'link'))
      return null
    },
  ],
  [
    'a path of 4095 bytes',
    ({ uploads }) => {
      let path = uploads
      while (path.length < 3800) path = join(path, 'd'.repeat(200))
      mkdirSync(path, { recursive: true })
      writeFileSync(join(path, 'f'.repeat(Math.min(255, 4094 - path.length))), 'deep')
      return null
    },
  ],
  [
    'a path that no call takes',
    ({ uploads }) => {
      makeTooDeep(uploads)
      return null
    },
  ],
  [
    'a path that is too long to be kept',
    ({ uploads }) => {
      makeTooDeep(uploads, 8)
      return 'is left out: its path is too long to be kept'
    },
  ],
  [
    'a file that is empty when it is read',
    place => {
      writeFileSync(join(place.uploads, 'a-large'), noise(24 * 1024 * 1024, 1))
      writeFileSync(join(place.uploads, 'shrinking'), noise(20 * 1024 * 1024, 2))
      place.context.progress = () => truncateSync(join(place.uploads, 'shrinking'), 0)
      return ''
    },
  ],
  ...(anyTime
    ? ([2e12, -2e12, 9e18].map(seconds => [
        `a time of ${seconds} seconds`,
        ({ uploads }: Directories) => {
          writeFileSync(join(uploads, 'odd'), 'odd')
          execFileSync('touch', ['-d', `@${BigInt(seconds)}`, join(uploads, 'odd')])
          return 'odd has a time that cannot be kept'
        },
      ]) as [string, (place: Directories) => string | null][])
    : []),
]

it.each(odd)('is the matter of one file: %s', async (_, make) => {
  const place = directories()
  mkdirSync(join(place.uploads, 'sub'))
  for (const name of ['first', 'sub/x', 'zz-last']) writeFileSync(join(place.uploads, name), name)
  const says = make(place)
  for (const type of ['full', 'incr'] as const) {
    const backup = await place.backUp({ type })
    if (says === null) expect(backup).toMatchObject({ incomplete: false, warnings: [] })
    else if (says !== '') expect(backup).toMatchObject({ incomplete: true, warnings: [expect.stringContaining(says)] })
    const path = join(place.room, type)
    const { problems } = await restore(
      place.context,
      place.journal,
      place.restoring({ kind: 'path', path, force: false }, { backup: backup.id }),
    )
    expect(problems).toEqual([])
    for (const name of ['first', 'sub/x', 'zz-last']) {
      expect(readFileSync(join(path, place.uploads, name), 'utf8')).toBe(name)
    }
    if (existsSync(join(place.uploads, 'odd')))
      expect(readFileSync(join(path, place.uploads, 'odd'), 'utf8')).toBe('odd')
  }
})

it('holds what lies deeper than any path, for whoever reads its tar', async () => {
  const place = directories()
  makeTooDeep(place.uploads)
  tooDeepFile(place.uploads, 'deepest', 'content')
  const backup = await place.backUp()
  expect(backup).toMatchObject({ incomplete: false, warnings: [] })
  const tar = join(place.source.repository.path, 'up', backup.id, 'up.tar.zst')
  const listing = execFileSync('sh', ['-c', `zstd -dc '${tar}' | tar -xO --wildcards '*/deepest'`], {
    encoding: 'utf8',
  })
  expect(listing).toBe('content')
})
