import { expect, it } from 'vitest'
import { reachedBy } from '../../../src/operations/pitr/restore-cluster.js'

const [before, last, after] = ['2025-11-03T00:00:01.5Z', '2025-11-03T00:00:02.000001Z', '2025-11-03T00:00:03.000000Z']
const commit = { xid: '731', lsn: '0/3000300', at: last }

it.each([
  ['the commit that it stopped at, whose time the server does not tell', before, '0/3000328', commit, 'lsn', last],
  ['that commit, also where no other one was replayed', null, '0/3000328', commit, 'lsn', last],
  ['that commit, where the clock was set back before it', after, '0/3000328', commit, 'lsn', last],
  ['what the server tells, where it did not come to it', before, '0/3000300', commit, 'lsn', before],
  ['what the server tells, where no commit is planned', null, '0/3000328', null, 'immediate', null],
  ['what came into the archive since, without a target', after, '0/4000000', commit, null, after],
])('a recovered server reached %s', (_, at, lsn, last_commit, recovery_target, reached) => {
  const state = { at, lsn, timeline: 2, paused: false }
  expect(reachedBy(state, { last_commit, recovery_target })).toEqual({ ...state, at: reached })
})
