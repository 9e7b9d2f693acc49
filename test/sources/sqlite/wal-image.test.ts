import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Extent, ZEROS } from '../../../src/image/types.js'
import { lockBytePage } from '../../../src/sources/sqlite/header.js'
import { liveImage } from '../../../src/sources/sqlite/wal-image.js'

const FILE = 10
const LOG = 11

const databases = fc
  .record({
    pageSize: fc.constantFrom(512, 4096, 65536),
    pageCount: fc.integer({ min: 1, max: 60 }),
    overlaid: fc.uniqueArray(fc.integer({ min: 1, max: 70 }), { maxLength: 30 }),
    frames: fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 30, maxLength: 30 }),
    stored: fc.integer({ min: 0, max: 70 }),
    odd: fc.integer({ min: 0, max: 511 }),
    step: fc.integer({ min: 1, max: 17 }),
    nearLock: fc.boolean(),
  })
  .map(({ pageSize, pageCount, overlaid, frames, stored, odd, step, nearLock }) => {
    // Half of the images lie around the lock-byte page.
    const base = nearLock ? lockBytePage(pageSize) - 20 : 0
    const pages = Uint32Array.from(overlaid, page => page + base).sort()
    return {
      base,
      step,
      database: {
        fd: FILE,
        log: LOG,
        overlay: { pages, frames: Uint32Array.from(frames.slice(0, pages.length)), smallest: pageCount + base },
        pageSize,
        pageCount: pageCount + base,
        storedBytes: (stored + base) * pageSize + odd,
      },
    }
  })

/** What each byte-range of a page must come from, said the plain way. */
function expected(page: number, database: Parameters<typeof liveImage>[0]): Extent[] {
  const { pageSize, storedBytes, overlay } = database
  if (page === 2 ** 30 / pageSize + 1) return [{ fd: ZEROS, position: 0, length: pageSize }]
  const at = overlay?.pages.indexOf(page) ?? -1
  const frame = overlay?.frames[at]
  if (frame !== undefined) return [{ fd: LOG, position: 32 + (frame - 1) * (24 + pageSize) + 24, length: pageSize }]
  const start = (page - 1) * pageSize
  const there = Math.min(pageSize, Math.max(0, storedBytes - start))
  const list: Extent[] = []
  if (there > 0) list.push({ fd: FILE, position: start, length: there })
  if (there < pageSize) list.push({ fd: ZEROS, position: 0, length: pageSize - there })
  return list
}

/** Cut at every multiple of 1: joined extents and single ones are the same bytes. */
function bytewise(extents: Extent[]): string {
  const parts: { fd: number; from: number; to: number }[] = []
  for (const { fd, position, length } of extents) {
    const last = parts.at(-1)
    const from = fd === ZEROS ? 0 : position
    if (last !== undefined && last.fd === fd && (fd === ZEROS || last.to === from)) last.to += length
    else parts.push({ fd, from, to: from + length })
  }
  return JSON.stringify(parts)
}

describe('liveImage', () => {
  test('covers every byte of the image once, each page from where its newest content is', () => {
    fc.assert(
      fc.property(databases, ({ database, base, step }) => {
        const image = liveImage(database)
        expect(image.size).toBe(database.pageCount * database.pageSize)
        const read: Extent[] = []
        const plain: Extent[] = []
        for (let block = base; block < database.pageCount; block += step) {
          const count = Math.min(step, database.pageCount - block)
          const extents = image.extents(block, count)
          expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(count * database.pageSize)
          read.push(...extents)
        }
        for (let page = base + 1; page <= database.pageCount; page += 1) plain.push(...expected(page, database))
        expect(bytewise(read)).toBe(bytewise(plain))
      }),
      { numRuns: 500 },
    )
  })

  test('reads a quiet stretch of the file in one piece', () => {
    const image = liveImage({
      fd: FILE,
      log: null,
      overlay: null,
      pageSize: 4096,
      pageCount: 256,
      storedBytes: 2 ** 20,
    })
    expect(image.extents(0, 256)).toEqual([{ fd: FILE, position: 0, length: 2 ** 20 }])
  })

  test('keeps the part of a page that a file cut short still has', () => {
    const image = liveImage({ fd: FILE, log: null, overlay: null, pageSize: 4096, pageCount: 2, storedBytes: 5000 })
    expect(image.extents(0, 2)).toEqual([
      { fd: FILE, position: 0, length: 5000 },
      { fd: ZEROS, position: 0, length: 3192 },
    ])
  })
})
