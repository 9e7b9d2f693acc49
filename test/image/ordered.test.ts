import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inBatches, inOrder } from '../../src/image/ordered.js'

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve()
}

describe('inOrder', () => {
  test('yields results in the order of the items and never has more than the width under way', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat({ max: 20 }), { maxLength: 30 }),
        fc.integer({ min: 1, max: 6 }),
        async (waits, width) => {
          let running = 0
          let most = 0
          const results: number[] = []
          const work = async ([at, wait]: [number, number]) => {
            running += 1
            most = Math.max(most, running)
            await turns(wait)
            running -= 1
            return at
          }
          for await (const result of inOrder(waits.entries(), width, work)) results.push(result)
          expect(results).toEqual(waits.map((_, at) => at))
          expect(most).toBeLessThanOrEqual(width)
        },
      ),
    )
  })

  test('has as many under way as the width allows', async () => {
    let started = 0
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    const work = async (item: number) => {
      started += 1
      if (started === 3) open()
      await gate
      return item
    }
    const results: number[] = []
    for await (const result of inOrder([1, 2, 3, 4], 3, work)) results.push(result)
    expect(results).toEqual([1, 2, 3, 4])
  })

  test('takes no further items while its results are not fetched', async () => {
    let taken = 0
    const items = function* () {
      for (; taken < 100; ) {
        taken += 1
        yield taken
      }
    }
    const results = inOrder(items(), 3, async item => item)
    await results.next()
    await turns(50)
    expect(taken).toBeLessThanOrEqual(4)
    await results.return()
    expect(taken).toBeLessThanOrEqual(4)
  })

  test('fails with the first failure in order, after what was under way has ended', async () => {
    let running = 0
    const work = async (item: number) => {
      running += 1
      await turns(item === 2 ? 1 : 20)
      running -= 1
      if (item >= 2) throw new Error(`item ${item}`)
      return item
    }
    const results: number[] = []
    const all = async () => {
      for await (const result of inOrder([0, 1, 2, 3, 4, 5, 6, 7], 4, work)) results.push(result)
    }
    await expect(all()).rejects.toThrow('item 2')
    expect(results).toEqual([0, 1])
    expect(running).toBe(0)
  })

  test('ends the source of its items when it fails, and hands on that one failing itself', async () => {
    let closed = false
    const items = function* () {
      try {
        yield 1
        yield 2
        throw new Error('source')
      } finally {
        closed = true
      }
    }
    const all = async (fail: boolean) => {
      const work = async (item: number) => {
        if (fail) throw new Error('work')
        return item
      }
      for await (const _ of inOrder(items(), 2, work));
    }
    await expect(all(true)).rejects.toThrow('work')
    expect(closed).toBe(true)
    await expect(all(false)).rejects.toThrow('source')
  })
})

test('inBatches keeps everything in order, in lists of the size asked for', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat()), fc.integer({ min: 1, max: 7 }), async (items, size) => {
      const batches: number[][] = []
      for await (const batch of inBatches(items, size)) batches.push(batch)
      expect(batches.flat()).toEqual(items)
      expect(batches.slice(0, -1).every(batch => batch.length === size)).toBe(true)
      expect(batches.every(batch => batch.length > 0)).toBe(true)
    }),
  )
})
