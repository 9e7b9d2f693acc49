import { describe, expect, it } from 'vitest'
import { canTrace, killDatabaseRestores, killTreeRestores } from './helpers/system-calls.js'

// test/soak/system-calls.test.ts kills at every call.
describe.skipIf(!canTrace)('an in-place restore that is killed as it enters a system call (strace)', () => {
  it.each([true, false])('of a database is wholly done or not at all; hard links: %s', async links => {
    expect(await killDatabaseRestores(links, 3)).toBeGreaterThan(0)
  })
  it.each([true, false])('of a tree is wholly done or not at all; hard links: %s', async links => {
    expect(await killTreeRestores(links, 3)).toBeGreaterThan(0)
  })
})
