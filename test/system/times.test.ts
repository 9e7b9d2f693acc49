import { lstatSync, lutimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { fsTime, secondsOf } from '../../src/system/times.js'
import { temporaryDirectory } from '../helpers/temporary.js'

test('a time comes back to the microsecond, before 1970 as well', () => {
  const path = join(temporaryDirectory(), 'file')
  writeFileSync(path, '')
  const micros = fc.bigInt({ min: -2_000_000_000_000_000n, max: 4_000_000_000_000_000n })
  fc.assert(
    fc.property(micros, fc.bigInt({ min: 0n, max: 999n }), (whole, part) => {
      const time = fsTime(secondsOf(whole * 1000n + part))
      lutimesSync(path, time, time)
      expect(lstatSync(path, { bigint: true }).mtimeNs).toBe(whole * 1000n)
    }),
    {
      examples: [
        [-1n, 0n],
        [-1n, 999n],
        [0n, 0n],
        [-1_000_000n, 1n],
        [1_700_000_000_123_457n, 0n],
      ],
    },
  )
})
