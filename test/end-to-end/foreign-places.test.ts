import { describe, it } from 'vitest'
import { archiveWalBeside, makeInForeignPlaces, restoreClusterBeside } from './helpers/foreign-places.js'

// test/soak/foreign-directories.test.ts does it more often.
describe.skipIf(process.getuid?.() !== 0)('an ordinary user who exchanges what root makes', () => {
  it('gets nothing of it from restores of a cluster, beside and in place', () => restoreClusterBeside(1))
  it('gets nothing of it from WAL that is archived and fetched', () => archiveWalBeside(3))
  it('gets nothing of it from new repositories, keys and state directories', () => makeInForeignPlaces(1))
})
