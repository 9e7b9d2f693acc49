import { describe, expect, it } from 'vitest'
import { parseTimelineHistory } from '../../../src/sources/postgres/timeline-history.js'

describe('a timeline history', () => {
  it('names the ancestors with the positions at which they were left', () => {
    const text =
      '1\t0/5000158\tno recovery target specified\n\n# a note\n2\t0/9000000\tbefore 2025-11-03 02:59:00+00 # why\n'
    expect(parseTimelineHistory(text, 3)).toEqual([
      { timeline: 1, until: 0x5000158n },
      { timeline: 2, until: 0x9000000n },
    ])
    expect(parseTimelineHistory('', 1)).toEqual([])
  })

  it.each([
    ['a line without a position', '1\n'],
    ['an ancestor that is not older', '3\t0/1\tx\n'],
    ['timeline 0', '0\t0/1\tx\n'],
    ['ancestors out of order', '2\t0/9\tx\n1\t0/9\tx\n'],
    ['positions out of order', '1\t0/9\tx\n2\t0/8\tx\n'],
    ['something else', '<html>\n'],
  ])('is damage with %s', (_, text) => {
    expect(() => parseTimelineHistory(text, 3)).toThrow(expect.objectContaining({ kind: 'damage' }))
  })
})
