import { describe, it } from 'vitest'
import {
  killCreates,
  killHotCreates,
  killHotRestores,
  killPrunes,
  killReplacements,
  killRestores,
  killRestoresWithService,
  killRollbacks,
} from './helpers/kills.js'

// A few moments of each kind; test/soak/kill.test.ts takes hundreds.
describe('SIGKILL at any moment', () => {
  it('of a full backup of a WAL database loses nothing', () => killCreates('wal', 'full', 2))
  it('of an increment of a WAL database loses nothing', () => killCreates('wal', 'incr', 2))
  it('of a full backup of a rollback-journal database loses nothing', () => killCreates('delete', 'full', 2))
  it('of an increment of a rollback-journal database loses nothing', () => killCreates('delete', 'incr', 2))
  it('of a full backup of a database with a hot journal touches neither', () => killHotCreates(2))
  it('of an in-place restore over a hot journal leaves the last commit, or the restored one', () => killHotRestores(3))
  it('of prune leaves the kept backups whole, and the next prune finishes', () => killPrunes(3))
  it('of an in-place restore leaves the database wholly old, log included, or wholly new', () => killRestores(4))
  it('of an in-place restore of a rollback-journal database does the same', () => killRestores(2, 'delete'))
  it('of an in-place restore over a database that cannot be opened keeps it and its log', () => killReplacements(2))
  it('of a rollback between a damaged database with its log and a sound one mixes them never', () => killRollbacks(3))
  it('of an in-place restore leaves no service stopped for longer than until the next run', () =>
    killRestoresWithService(3))
})
