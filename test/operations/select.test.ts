import { rmSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { reselect, selectBackup } from '../../src/operations/select.js'
import { testContext } from '../helpers/context.js'
import { type Shelf, shelf } from './shelf.js'

const select = (shelves: Shelf[], backup: string, at?: Date) =>
  selectBackup(
    testContext(),
    shelves.map(({ settings }) => settings),
    { backup, at },
  )

describe('choosing a backup', () => {
  it('takes an id, a prefix that only one has, or a source for its latest', async () => {
    const one = await shelf()
    const first = await one.add(1)
    const second = await one.add(2)
    for (const [wanted, id] of [
      [first, first],
      [first.slice(0, 8), first],
      [second.slice(0, 20), second],
      ['itsm', second],
    ] as const) {
      expect((await select([one], wanted)).manifest.id).toBe(id)
    }
  })

  it('refuses a prefix that several have and names them, damaged ones too', async () => {
    const one = await shelf()
    const ids = [await one.add(1), await one.add(2), await one.add(3)]
    one.rob(ids[2] ?? '')
    await expect(select([one], '2025')).rejects.toMatchObject({ kind: 'usage', code: 'backup_ambiguous' })
    const error = await select([one], '2025').catch((thrown: { hint: string }) => thrown)
    for (const id of ids) expect((error as { hint: string }).hint).toContain(id)
  })

  it('takes the latest by sequence, whatever the clock said', async () => {
    const one = await shelf()
    await one.add(9)
    const last = await one.add(2)
    expect((await select([one], 'itsm')).manifest.id).toBe(last)
  })

  it('takes an incomplete one for the latest only where there is no complete one', async () => {
    const one = await shelf()
    const first = await one.add(1, { incomplete: true })
    expect((await select([one], 'itsm')).manifest.id).toBe(first)
    const second = await one.add(2)
    const third = await one.add(3, { incomplete: true })
    expect((await select([one], 'itsm')).manifest.id).toBe(second)
    expect((await select([one], 'itsm', new Date('2025-11-01T04:00:00Z'))).manifest.id).toBe(first)
    expect((await select([one], third)).manifest.id).toBe(third)
    const other = await shelf()
    await other.add(4, { incomplete: true })
    expect((await select([one, other], 'itsm')).manifest.id).toBe(second)
  })

  it('takes the newest captured not after an instant', async () => {
    const one = await shelf()
    const first = await one.add(1)
    const second = await one.add(2)
    const at = (text: string) => select([one], 'itsm', new Date(text))
    expect((await at('2025-11-01T03:00:00.000Z')).manifest.id).toBe(first)
    expect((await at('2025-11-02T02:59:59.999Z')).manifest.id).toBe(first)
    expect((await at('2025-11-02T03:00:00.000Z')).manifest.id).toBe(second)
    await expect(at('2025-11-01T02:59:59.999Z')).rejects.toMatchObject({ kind: 'not-found' })
  })

  it('never silently takes an older one for a latest whose chain is broken, and names the older', async () => {
    const one = await shelf()
    const sound = await one.add(1)
    const parent = await one.add(2)
    const child = await one.add(3, { type: 'incr', parent })
    one.rob(parent)
    for (const wanted of ['itsm', child, child.slice(0, 20)]) {
      const refused = select([one], wanted)
      await expect(refused).rejects.toMatchObject({ kind: 'damage', code: 'backup_damaged' })
      await expect(refused).rejects.toMatchObject({ hint: expect.stringContaining(sound) })
    }
    expect((await select([one], sound)).manifest.id).toBe(sound)
  })

  it('never silently takes an older one for a latest that is damaged itself', async () => {
    const one = await shelf()
    const sound = await one.add(1)
    const latest = await one.add(2)
    one.rob(latest)
    const refused = select([one], 'itsm')
    await expect(refused).rejects.toMatchObject({ kind: 'damage', message: expect.stringContaining(latest) })
    await expect(refused).rejects.toMatchObject({ hint: expect.stringContaining(sound) })
    await expect(select([one], latest)).rejects.toMatchObject({ kind: 'damage' })
  })

  it('nor for the newest before an instant', async () => {
    const one = await shelf()
    await one.add(1)
    const damaged = await one.add(2)
    await one.add(3)
    one.rob(damaged)
    await expect(select([one], 'itsm', new Date('2025-11-02T12:00:00Z'))).rejects.toMatchObject({ kind: 'damage' })
    expect((await select([one], 'itsm', new Date('2025-11-03T12:00:00Z'))).manifest.sequence).toBe(3)
  })

  it('says what is not there', async () => {
    const one = await shelf()
    await one.add(1)
    await expect(select([one], 'nothing')).rejects.toMatchObject({ kind: 'not-found', code: 'backup_not_found' })
    await expect(select([one], '2024')).rejects.toMatchObject({ kind: 'not-found' })
  })

  it('notices under the lock that a chosen one was pruned or damaged meanwhile', async () => {
    const one = await shelf()
    const kept = await select([one], await one.add(1))
    const pruned = await select([one], await one.add(2))
    const robbed = await select([one], await one.add(3))
    rmSync(one.path('itsm', pruned.manifest.id), { recursive: true })
    one.rob(robbed.manifest.id)
    expect((await reselect(testContext(), kept)).manifest.id).toBe(kept.manifest.id)
    await expect(reselect(testContext(), pruned)).rejects.toMatchObject({ kind: 'not-found' })
    await expect(reselect(testContext(), robbed)).rejects.toMatchObject({ kind: 'damage' })
  })
})
