import { it } from 'vitest'
import { commitClock, expectCommits, randomTimes } from '../end-to-end/helpers/commit-clock.js'

const TARGETS = Number(process.env.SOAK_TARGETS ?? 200)

it(`${TARGETS} copies restored to random microseconds hold exactly the commits not after them`, async () => {
  const clock = await commitClock(4000)
  for (const at of randomTimes(clock.commits, TARGETS)) await expectCommits(clock, at)
})
