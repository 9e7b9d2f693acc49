import { describe, it } from 'vitest'
import { archiveWalBeside, makeInForeignPlaces, restoreClusterBeside } from '../end-to-end/helpers/foreign-places.js'
import { restoreDatabaseBeside, restoreFilesBeside, workInRepository } from '../end-to-end/helpers/foreign-runs.js'

const TIMES = 200

// test/end-to-end/foreign-directories.test.ts and foreign-places.test.ts have a few of them.
describe.skipIf(process.getuid?.() !== 0)('an ordinary user who exchanges what root makes in his directories', () => {
  it('gets nothing of it from restores of a database', () => restoreDatabaseBeside(TIMES))
  it('gets nothing of it from restores of directories', () => restoreFilesBeside(TIMES))
  it('gets nothing of it from restores of a database with other names', () => restoreDatabaseBeside(TIMES, true))
  it('gets nothing of it from restores of a cluster', () => restoreClusterBeside(TIMES / 10))
  it('gets nothing of it from WAL that is archived and fetched', () => archiveWalBeside(TIMES))
  it('gets nothing of it from new repositories, keys and state directories', () => makeInForeignPlaces(TIMES / 4))
  it('gets nothing of it from work in a repository and a state directory', () => workInRepository(TIMES))
})
