import { expect, test } from 'vitest'
import { noPaint } from '../../src/cli/output/colour.js'
import { renderCreate } from '../../src/cli/output/render-create.js'
import type { LockReport } from '../../src/operations/results.js'
import { backup } from './fixtures.js'

const until = '2025-12-03T03:00:00.000Z'
const line = (lock?: LockReport) =>
  renderCreate(
    {
      command: 'create',
      backups: [{ ...backup, ...(lock === undefined ? {} : { lock }) }],
      failures: [],
      copies: [],
      copy_failures: [],
    },
    { dryRun: false, paint: noPaint },
  )

test('a backup in a store with object lock says until when it is locked, and what is locked with it', () => {
  expect(line()).toMatch(/20 ms\n$/)
  expect(line({ until, backups: 0, wal: 0 })).toContain(`, locked until ${until}\n`)
  expect(line({ until, backups: 1, wal: 0 })).toContain(`until ${until}, and so is what it needs: 1 backup\n`)
  expect(line({ until, backups: 2, wal: 31 })).toContain(`needs: 2 backups and 31 files of the log\n`)
})
