import { writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { assertOwn } from '../../../src/operations/prune/pruned-claim.js'
import type { Claim } from '../../../src/repository/types.js'
import { testContext } from '../../helpers/context.js'
import { shelf } from '../shelf.js'

const database: Claim = { kind: 'sqlite', host: 'db1', path: '/app.db', system_identifier: null }
const cluster: Claim = { kind: 'postgres', host: 'db1', path: null, system_identifier: '7' }

async function claimed(claim: Claim) {
  const one = await shelf()
  const room = one.room('itsm')
  await room.enter(claim, { adopt: false, now: new Date(0) })
  const as = (kind: 'sqlite' | 'postgres' | undefined, host: string) =>
    assertOwn(testContext({ host }), room, {
      name: 'itsm',
      repository: one.settings,
      keep: { last: 1 },
      ...(kind === undefined ? {} : { kind }),
    })
  return { one, as }
}

describe('a policy in a configuration', () => {
  it('is for this machine’s own backups; who names a source means it', async () => {
    const { one, as } = await claimed(database)
    await as('sqlite', 'db1')
    await expect(as('sqlite', 'db2')).rejects.toMatchObject({ kind: 'refused', code: 'source_claimed' })
    await expect(as('postgres', 'db1')).rejects.toMatchObject({ code: 'source_claimed' })
    await as(undefined, 'db2')
    // Damage is told by others.
    writeFileSync(one.path('itsm', 'source.json'), '{}')
    await as('sqlite', 'db2')
  })

  it('is for a cluster wherever its server runs', async () => {
    const { as } = await claimed(cluster)
    await as('postgres', 'db2')
    await expect(as('sqlite', 'db1')).rejects.toMatchObject({ code: 'source_claimed' })
  })
})
