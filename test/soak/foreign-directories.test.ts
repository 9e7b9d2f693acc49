import { describe, it } from 'vitest'
import { restoreDatabaseBeside, restoreFilesBeside, workInRepository } from '../end-to-end/helpers/foreign-runs.js'

const TIMES = 200

// test/end-to-end/foreign-directories.test.ts has a few of them.
describe.skipIf(process.getuid?.() !== 0)('an ordinary user who exchanges what root makes in his directories', () => {
  it('gets nothing of it from restores of a database', () => restoreDatabaseBeside(TIMES))
  it('gets nothing of it from restores of directories', () => restoreFilesBeside(TIMES))
  it('gets nothing of it from work in a repository and a state directory', () => workInRepository(TIMES))
})
