import { describe, it } from 'vitest'
import { proveChain } from '../end-to-end/helpers/living-tree.js'

describe('20,000 files with renames, deletions and appended logs between the runs', () => {
  it('restore identically over increments and over a diff: content, mode, owner, time, links', () => proveChain(20_000))
}, 3_600_000)
