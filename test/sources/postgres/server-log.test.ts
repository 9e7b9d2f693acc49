import { describe, expect, it } from 'vitest'
import { causeOfDeath } from '../../../src/sources/postgres/server-log.js'

const stamp = (pid: number) => `2025-11-03 04:59:08.123 UTC [${pid}] `

describe('the cause of a server’s death', () => {
  it('is its last fatal message with detail and hint, not those of other processes', () => {
    const log = [
      `${stamp(7)}LOG:  starting point-in-time recovery to 2025-11-03 05:00:00+00`,
      `${stamp(9)}FATAL:  the database system is starting up`,
      `${stamp(8)}FATAL:  recovery ended before configured recovery target was reached`,
      `${stamp(8)}HINT:  look elsewhere`,
      `${stamp(7)}LOG:  startup process (PID 8) exited with exit code 1`,
      `${stamp(9)}FATAL:  the database system is starting up`,
      `${stamp(9)}DETAIL:  of another`,
    ].join('\n')
    expect(causeOfDeath(log)).toBe('recovery ended before configured recovery target was reached; look elsewhere')
  })

  it('has what our own restore_command said before it', () => {
    const log = [
      'nexus-backup: error: shop/wal/1/00000001/000000010000000000000005.zst is damaged: its content differs',
      'hint: take a full backup now',
      `${stamp(8)}FATAL:  could not restore file "000000010000000000000005" from archive: child process exited with exit code 126`,
    ].join('\n')
    expect(causeOfDeath(log)).toContain('exit code 126; nexus-backup: error: shop/wal')
  })

  it('is what the program says before it has a log', () => {
    expect(causeOfDeath('postgres: could not access the server configuration file "/x": No such file')).toContain('/x')
  })

  it('is not known from ordinary lines', () => {
    expect(
      causeOfDeath(`${stamp(9)}FATAL:  role "me" does not exist\n${stamp(1)}LOG:  database system is shut down\n`),
    ).toBeNull()
    expect(causeOfDeath('')).toBeNull()
  })
})
