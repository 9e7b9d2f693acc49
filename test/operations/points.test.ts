import { describe, expect, it } from 'vitest'
import { points } from '../../src/operations/points.js'
import { testContext } from '../helpers/context.js'
import { shelf } from './shelf.js'

describe('points', () => {
  it('are the captures that can be restored, oldest first, and no windows', async () => {
    const [one, two] = [await shelf('one'), await shelf('two')]
    const first = await one.add(1)
    const second = await one.add(3, { type: 'incr', parent: first })
    const robbed = await one.add(4)
    await one.add(5, { type: 'diff', parent: robbed })
    one.rob(robbed)
    await one.add(6, { source: 'other' })
    const copy = await two.add(2)
    const failed = await two.add(7)
    const proof = { id: failed, at: '2025-11-08T00:00:00.000Z', status: 'damaged', level: 'stored' } as const
    await two.room('itsm').addProof({ ...proof, findings: [] })
    expect(await points(testContext(), [one.settings, two.settings], 'itsm')).toEqual({
      command: 'pitr points',
      source: 'itsm',
      points: [
        { id: first, at: '2025-11-01T03:00:00.000Z' },
        { id: copy, at: '2025-11-02T03:00:00.000Z' },
        { id: second, at: '2025-11-03T03:00:00.000Z' },
      ],
      windows: [],
    })
  })

  it('are not found for an unknown source', async () => {
    const one = await shelf()
    await one.add(1)
    await expect(points(testContext(), [one.settings], 'itsn')).rejects.toMatchObject({
      kind: 'not-found',
      hint: 'did you mean itsm?',
    })
  })
})
