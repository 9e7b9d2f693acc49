import { describe, expect, it } from 'vitest'
import { type ArchivingState, archivingProblem } from '../../../src/sources/postgres/archiving.js'

const well: ArchivingState = {
  systemIdentifier: '7',
  standby: false,
  walLevel: 'replica',
  archiveMode: 'on',
  command: 'nexus-backup pitr archive %p || exit 1',
  library: '',
  waiting: 0,
  waitingSeconds: null,
  lastArchived: { name: '000000010000000000000002', at: '2026-11-03T03:00:00.000000Z' },
  lastFailed: null,
}
const later = { name: '000000010000000000000003', at: '2026-11-03T03:00:01.000000Z' }
const earlier = { name: '000000010000000000000001', at: '2026-11-03T02:59:59.000000Z' }

describe('archiving', () => {
  it.each<[string, Partial<ArchivingState>, string | null]>([
    ['that works', {}, null],
    ['that failed once and goes on', { lastFailed: earlier }, null],
    ['under load', { waiting: 134, waitingSeconds: 20 }, null],
    ['of a standby, which its primary does', { standby: true, command: '', waiting: 3, waitingSeconds: 9000 }, null],
    ['by a library', { command: '', library: 'basic_archive' }, null],
    ['that is off', { archiveMode: 'off' }, 'archiving_off'],
    ['that is off on a standby', { archiveMode: 'off', standby: true }, 'archiving_off'],
    ['without a command', { command: '' }, 'archiving_unset'],
    ['that fails', { lastFailed: later, waiting: 1, waitingSeconds: 2 }, 'archiving_fails'],
    ['that never worked', { lastArchived: null, lastFailed: later }, 'archiving_fails'],
    [
      'that fails on a standby of its own',
      { standby: true, archiveMode: 'always', lastFailed: later },
      'archiving_fails',
    ],
    ['whose failures the server does not count', { waiting: 134, waitingSeconds: 3600 }, 'archiving_waits'],
  ])('%s', (_, change, code) => {
    const problem = archivingProblem('crm', { ...well, ...change })
    expect(problem?.code ?? null).toBe(code)
    if (problem !== null) {
      expect(problem.message).toMatch(/^crm: /)
      expect(problem.hint).toContain('nexus-backup pitr check crm')
    }
  })

  it('says how much waits and since when', () => {
    const { message } = archivingProblem('crm', { ...well, waiting: 134, waitingSeconds: 3600 }) ?? { message: '' }
    expect(message).toBe(
      'crm: WAL is not archived for 60 minutes: the last one archived was 000000010000000000000002; 134 segments wait',
    )
  })
})
