import { describe, expect, it } from 'vitest'
import { createFailures } from '../../src/cli/commands/create.js'
import { exitStatusOf } from '../../src/cli/exit-codes.js'
import { backup, created, failure } from './fixtures.js'

describe('the exit status of a create of several sources', () => {
  const status = (result: Parameters<typeof createFailures>[0]) => exitStatusOf(createFailures(result, 3).at(-1))

  it('is 3 when some were backed up', () => {
    expect(status(created({ failures: [failure('a'), failure('b', 'locked')] }))).toBe(3)
  })

  it('is that of the common cause when none was, and 1 for different causes', () => {
    expect(status(created({ backups: [], failures: ['a', 'b', 'c'].map(name => failure(name, 'locked')) }))).toBe(6)
    expect(status(created({ backups: [], failures: [failure('a', 'locked'), failure('b', 'damage')] }))).toBe(1)
  })

  it('is 4 when a damaged source was backed up, whatever else failed', () => {
    const backups = [{ ...backup, damaged_source: true }]
    expect(status(created({ backups, failures: [failure('a')] }))).toBe(4)
  })

  it('names every source that failed, then how many did', () => {
    const messages = createFailures(created({ failures: [failure('a'), failure('b')] }), 3).map(error => error.message)
    expect(messages).toEqual(['a: it broke', 'b: it broke', '2 sources of 3 could not be backed up'])
  })
})
