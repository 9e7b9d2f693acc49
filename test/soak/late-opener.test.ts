import { describe, it } from 'vitest'
import { ordinaryUser, restoreUnderLateOpeners } from '../end-to-end/helpers/late.js'

describe.skipIf(process.getuid?.() !== 0)(
  '200 in-place restores, each under a program that opens the database late',
  () => {
    it('by root lose no acknowledged commit', () => restoreUnderLateOpeners(200))
    it('by an ordinary user lose no acknowledged commit', () => restoreUnderLateOpeners(200, ordinaryUser()))
  },
)
