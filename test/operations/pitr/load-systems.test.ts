import { writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { latestLine } from '../../../src/operations/pitr/latest.js'
import { loadSystems } from '../../../src/operations/pitr/load-systems.js'
import { testContext } from '../../helpers/context.js'
import { historyContent, name, range, segmentContent, type WalShelf, walShelf } from '../wal-shelf.js'

/** Timeline 1 goes on on the 20th after timeline 2, begun in segment 5, was left on the 10th. */
async function rolledBack(): Promise<WalShelf> {
  const one = await walShelf()
  await one.base(1, 2)
  await one.segments(range(2, 5), { day: 2 })
  await one.base(9, 6, { timeline: 2 })
  const times = { closedAt: new Date('2025-11-09T00:00:00Z'), now: new Date('2025-11-09T00:00:00Z') }
  await one.archive().put('00000002.history', historyContent([[1, 5]]), times)
  await one.segments(range(5, 8), { day: 10, timeline: 2 })
  await one.segments(range(6, 9), { day: 20 })
  return one
}

async function latestOf({ settings }: WalShelf): Promise<number | undefined> {
  const [system] = await loadSystems(testContext(), [settings], 'db')
  return system === undefined ? undefined : latestLine(system)?.timeline
}

it('the timeline written last is that of the newest closing or base', async () => {
  const one = await rolledBack()
  expect(await latestOf(one)).toBe(1)
  await one.base(21, 8, { timeline: 2 })
  expect(await latestOf(one)).toBe(2)
})

it('a segment that was closed long ago and archived late does not make its timeline the latest', async () => {
  const one = await rolledBack()
  const times = { closedAt: new Date('2025-11-10T09:00:00Z'), now: new Date('2025-11-28T00:00:00Z') }
  await one.archive().put(name(9, 2), segmentContent(9, 2), times)
  expect(await latestOf(one)).toBe(1)
})

it('a segment whose head is damaged is passed over for the one before it', async () => {
  const one = await rolledBack()
  writeFileSync(one.file(name(9)), 'torn')
  expect(await latestOf(one)).toBe(1)
})
