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
} from '../end-to-end/helpers/kills.js'
import { killLookingAhead } from '../end-to-end/helpers/wal-kills.js'

describe('SIGKILL at hundreds of moments', () => {
  it('of a full backup of a WAL database', () => killCreates('wal', 'full', 40))
  it('of an increment of a WAL database', () => killCreates('wal', 'incr', 40))
  it('of a full backup of a rollback-journal database', () => killCreates('delete', 'full', 40))
  it('of an increment of a rollback-journal database', () => killCreates('delete', 'incr', 40))
  it('of a full backup of a database with a hot journal', () => killHotCreates(40))
  it('of an in-place restore over a database with a hot journal', () => killHotRestores(60))
  it('of prune', () => killPrunes(40))
  it('of an in-place restore over a live log', () => killRestores(100))
  it('of an in-place restore of a rollback-journal database', () => killRestores(30, 'delete'))
  it('of an in-place restore over a database that cannot be opened', () => killReplacements(40))
  it('of a rollback', () => killRollbacks(40))
  it('of an in-place restore with a service', () => killRestoresWithService(40))
  it('of archiving that looks ahead', () => killLookingAhead(60))
}, 3_600_000)
