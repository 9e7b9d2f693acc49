import { describe, expect, it } from 'vitest'
import { canTrace, killDatabaseRestores, killMerges, killTreeRestores } from './helpers/system-calls.js'

// test/soak/system-calls.test.ts kills at every call.
describe.skipIf(!canTrace)('an in-place restore that is killed as it enters a system call (strace)', () => {
  it.each([true, false])('of a database is wholly done or not at all; hard links: %s', async links => {
    expect(await killDatabaseRestores(links, 3)).toBeGreaterThan(0)
  })
  it.each([true, false])('of a tree is wholly done or not at all; hard links: %s', async links => {
    expect(await killTreeRestores(links, 3)).toBeGreaterThan(0)
  })
})

describe.skipIf(!canTrace)('a merge that is killed as it enters a system call (strace)', () => {
  it.each([
    'merge',
    'undo',
  ] as const)('leaves every file wholly old or wholly new, a database with its log: %s', async which => {
    expect(await killMerges(which, 3)).toBeGreaterThan(0)
  })
})
