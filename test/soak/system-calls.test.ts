import { describe, expect, it } from 'vitest'
import { canTrace, killDatabaseRestores, killMerges, killTreeRestores } from '../end-to-end/helpers/system-calls.js'

describe.skipIf(!canTrace)(
  'an in-place restore that is killed as it enters each system call that changes something',
  () => {
    it.each([true, false])('of a database; hard links: %s', async links => {
      expect(await killDatabaseRestores(links)).toBeGreaterThan(50)
    })
    it.each(['merge', 'undo'] as const)('or a merge into a directory, or its undo: %s', async which => {
      expect(await killMerges(which)).toBeGreaterThan(50)
    })
    it.each([true, false])('of a tree; hard links: %s', async links => {
      expect(await killTreeRestores(links)).toBeGreaterThan(50)
    })
  },
)
