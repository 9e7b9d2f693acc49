import { describe, expect, it } from 'vitest'
import { spaceWarning, type WalPace, walSpaceOf } from '../../../src/sources/postgres/wal-space.js'

const MiB = 1024 ** 2
const pace = (wishes: Partial<WalPace>): WalPace => ({
  segmentBytes: 16 * MiB,
  waiting: 0,
  finished: 0,
  seconds: null,
  archived: 0,
  archivedSeconds: 0,
  ...wishes,
})

describe('how long pg_wal lasts', () => {
  it('follows from what was written since the oldest segment in it was finished', () => {
    // Ten segments after the oldest one in half an hour: 320 MiB an hour.
    const space = walSpaceOf(pace({ finished: 11, seconds: 1800, waiting: 11 }), 3200 * MiB)
    expect(space).toEqual({
      free_bytes: 3200 * MiB,
      waiting_bytes: 176 * MiB,
      bytes_per_hour: 320 * MiB,
      hours_left: 10,
    })
  })

  it('follows from the archived ones where these came faster', () => {
    const space = walSpaceOf(pace({ finished: 2, seconds: 3600, archived: 100, archivedSeconds: 3600 }), 1600 * MiB)
    expect(space).toMatchObject({ bytes_per_hour: 1600 * MiB, hours_left: 1 })
  })

  it.each([
    ['nothing was written', {}],
    ['one segment was', { finished: 1, seconds: 3600 }],
    ['it was written just now', { finished: 5, seconds: 2, archived: 5, archivedSeconds: 2 }],
  ])('is not told where %s', (_, wishes) => {
    expect(walSpaceOf(pace(wishes), 1000 * MiB)).toMatchObject({ bytes_per_hour: null, hours_left: null })
  })

  it('is warned of when it is less than a day, with what waits', () => {
    const space = { free_bytes: 5e9, waiting_bytes: 3e9, bytes_per_hour: 1e9, hours_left: 5 }
    expect(spaceWarning('crm', space)).toMatch(/^crm: pg_wal is full in 5 hours .*5000 MB are free, and 3000 MB wait/)
    expect(spaceWarning('crm', { ...space, hours_left: 24 })).toBeNull()
    expect(spaceWarning('crm', { ...space, bytes_per_hour: null, hours_left: null })).toBeNull()
  })

  it('is nothing on a full disk', () => {
    expect(walSpaceOf(pace({ finished: 11, seconds: 1800 }), 0).hours_left).toBe(0)
  })
})
