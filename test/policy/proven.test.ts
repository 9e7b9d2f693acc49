import { describe, expect, it } from 'vitest'
import {
  damagedByProof,
  drillMarks,
  type ProofOutcome,
  type ProvableBackup,
  provenBackups,
  unsoundBackups,
} from '../../src/policy/proven.js'

const now = new Date('2025-11-30T00:00:00Z')
const passed = [{ status: 'ok' as const }]

function backup(sequence: number, parent: string | null, wishes: Partial<ProvableBackup> = {}): ProvableBackup {
  const type = parent === null ? 'full' : 'incr'
  return { id: `b${sequence}`, sequence, type, parent, damaged_source: false, checks: [], ...wishes }
}

function proof(
  id: string,
  dayOfMonth: number,
  status: ProofOutcome['status'],
  level: ProofOutcome['level'] = 'content',
): ProofOutcome {
  return { id, at: `2025-11-${String(dayOfMonth).padStart(2, '0')}T00:00:00Z`, status, level }
}

function proven(backups: ProvableBackup[], proofs: ProofOutcome[] = [], lost: string[] = []): string[] {
  const damaged = new Set([...lost, ...damagedByProof(proofs, now).keys()])
  return [...provenBackups(backups, proofs, damaged, now)]
}

describe('proven backups', () => {
  it('are fulls whose checks passed when they were made, but no increments by themselves', () => {
    const backups = [backup(1, null), backup(2, null, { checks: passed }), backup(3, 'b2', { checks: passed })]
    expect(proven(backups)).toEqual(['b2'])
  })

  it('of a cluster are those whose every page was found right again, though a page was damaged before', () => {
    const pages = (status: 'ok' | 'failed') => [{ name: 'page_checksums', status }]
    const backups = [
      backup(1, null, { damaged_source: true, checks: pages('failed') }),
      backup(2, 'b1', { damaged_source: true, checks: pages('failed') }),
      backup(3, 'b2', { checks: pages('ok') }),
      backup(4, 'b3', { checks: pages('ok') }),
    ]
    expect([...unsoundBackups(backups)]).toEqual(['b1', 'b2'])
    // What a drill saw inside of the pages is no matter of their checksums.
    const drilled = [proof('b3', 5, 'source-damaged', 'drill')]
    expect([...unsoundBackups(backups, drilled)]).toEqual(['b1', 'b2', 'b3', 'b4'])
  })

  it('are not made from a damaged source, nor stand on one, whatever a verify says of their bytes', () => {
    const backups = [
      backup(1, null, { checks: passed, damaged_source: true }),
      backup(2, 'b1'),
      backup(3, null, { checks: [...passed, { status: 'failed' }] }),
      backup(4, null, { checks: passed }),
    ]
    const proofs = backups.map(({ id }) => proof(id, 9, 'ok'))
    expect(proven(backups, proofs)).toEqual(['b4'])
    expect([...unsoundBackups(backups)]).toEqual(['b1', 'b2', 'b3'])
  })

  it('are complete, but may stand on one that is not', () => {
    const backups = [backup(1, null, { checks: passed, incomplete: true }), backup(2, 'b1')]
    expect(proven(backups, [proof('b1', 9, 'ok'), proof('b2', 9, 'ok')])).toEqual(['b2'])
  })

  describe('of a database', () => {
    const kind = 'sqlite'
    const looked = (name: string) => ({ kind, checks: [{ name, status: 'ok' as const }] })
    const query = looked('SELECT count(*) FROM incidents')

    it('are those at which SQLite looked when they were captured, increments too', () => {
      const backups = [
        backup(1, null, looked('integrity_check')),
        backup(2, 'b1', looked('quick_check')),
        backup(3, 'b2', query),
        backup(4, 'b3', { kind }),
        backup(5, null, query),
      ]
      expect(proven(backups)).toEqual(['b1', 'b2'])
    })

    it('are never those of which a verify compared the bytes alone', () => {
      const backups = [backup(1, null, { kind }), backup(2, 'b1', query)]
      const verified = backups.map(({ id }) => proof(id, 5, 'ok'))
      expect(proven(backups, verified)).toEqual([])
      expect(proven(backups, [...verified, proof('b2', 6, 'ok', 'drill')])).toEqual(['b2'])
    })

    it('are no longer proven after damage in their chain, until their bytes are found whole again', () => {
      const backups = [backup(1, null, looked('integrity_check')), backup(2, 'b1', looked('quick_check'))]
      const damaged = proof('b1', 6, 'damaged')
      expect(proven(backups, [damaged])).toEqual([])
      const repaired = [damaged, proof('b1', 7, 'ok')]
      expect(proven(backups, repaired)).toEqual(['b1'])
      expect(proven(backups, [...repaired, proof('b2', 7, 'ok')])).toEqual(['b1', 'b2'])
    })

    it('share with every backup of the same image what a drill found in it, and nothing of their bytes', () => {
      const image = { kind, digest_seed: 'a1', image_digest: 'd1' }
      const backups = [
        backup(1, null, image),
        backup(2, 'b1', image),
        backup(3, 'b2', { ...image, image_digest: 'd2' }),
      ]
      const good = proof('b1', 5, 'ok', 'drill')
      expect(proven(backups, [good])).toEqual(['b1', 'b2'])
      expect(proven(backups, [good, proof('b2', 4, 'damaged')])).toEqual(['b1'])
      const bad = proof('b2', 6, 'source-damaged', 'drill')
      expect(proven(backups, [good, bad])).toEqual([])
      // No backup of that image is sound until a drill of it passes, whatever a verify says.
      const verified = backups.map(({ id }) => proof(id, 7, 'ok'))
      expect([...unsoundBackups(backups, [good, bad, ...verified])]).toEqual(['b1', 'b2', 'b3'])
      expect(proven(backups, [good, bad, ...verified, proof('b1', 8, 'ok', 'drill')])).toEqual(['b1', 'b2'])
    })

    it('of unknown images share nothing', () => {
      const sealed = { kind, digest_seed: null, image_digest: null }
      const backups = [backup(1, null, sealed), backup(2, 'b1', sealed)]
      expect(proven(backups, [proof('b1', 5, 'ok', 'drill')])).toEqual(['b1'])
    })
  })

  it('may stand on a damaged source when SQLite looked at all of them again and found them sound', () => {
    const checks = [{ name: 'integrity_check', status: 'ok' as const }]
    const backups = [
      backup(1, null, { damaged_source: true }),
      backup(2, 'b1', { checks: passed }),
      backup(3, 'b2', { checks }),
    ]
    expect([...unsoundBackups(backups)]).toEqual(['b1', 'b2'])
    expect(proven(backups, [proof('b3', 9, 'ok')])).toEqual(['b3'])
  })

  it('are those that a verify found good, even without checks', () => {
    const backups = [backup(1, null), backup(2, 'b1'), backup(3, 'b2')]
    expect(proven(backups, [proof('b2', 5, 'ok'), proof('b3', 5, 'unread')])).toEqual(['b2'])
  })

  it('are no longer proven once a verify found damage anywhere in their chain, until a later one passes', () => {
    const backups = [backup(1, null, { checks: passed }), backup(2, 'b1'), backup(3, 'b2')]
    const good = [proof('b2', 5, 'ok'), proof('b3', 5, 'ok')]
    expect(proven(backups, good)).toEqual(['b1', 'b2', 'b3'])
    expect(proven(backups, [...good, proof('b2', 6, 'damaged')])).toEqual(['b1'])
    expect(proven(backups, [...good, proof('b1', 6, 'damaged')])).toEqual([])
    const repaired = [...good, proof('b1', 6, 'damaged'), proof('b1', 7, 'ok')]
    expect(proven(backups, repaired)).toEqual(['b1'])
    expect(proven(backups, [...repaired, proof('b3', 7, 'ok')])).toEqual(['b1', 'b3'])
  })

  it('need every ancestor', () => {
    const backups = [backup(1, null, { checks: passed }), backup(2, 'b1'), backup(3, 'b2'), backup(4, 'nowhere')]
    const proofs = [proof('b2', 5, 'ok'), proof('b3', 5, 'ok'), proof('b4', 5, 'ok')]
    expect(proven(backups, proofs, ['b2'])).toEqual(['b1'])
  })
})

describe('damage that a verify found', () => {
  it('counts until a later verify passes; of two at the same time the damage counts', () => {
    const proofs = [
      proof('b1', 5, 'damaged'),
      proof('b1', 6, 'ok'),
      proof('b2', 6, 'ok'),
      proof('b2', 6, 'damaged'),
      proof('b3', 5, 'damaged'),
      proof('b3', 6, 'unread'),
      proof('b3', 4, 'damaged'),
    ]
    expect(damagedByProof(proofs, now)).toEqual(
      new Map([
        ['b2', proof('b2', 6, 'damaged').at],
        ['b3', proof('b3', 5, 'damaged').at],
      ]),
    )
  })

  it('is not undone by a pass from the future, nor by a time that cannot be read', () => {
    const early = new Date('2025-11-10T00:00:00Z')
    expect([...damagedByProof([proof('b1', 5, 'damaged'), proof('b1', 20, 'ok')], early).keys()]).toEqual(['b1'])
    const unreadable = [{ ...proof('b1', 1, 'damaged'), at: 'soon' }, proof('b1', 5, 'ok')]
    expect([...damagedByProof(unreadable, now).keys()]).toEqual(['b1'])
    expect([
      ...damagedByProof([proof('b1', 5, 'damaged'), { ...proof('b1', 1, 'ok'), at: 'soon' }], now).keys(),
    ]).toEqual(['b1'])
  })
})

describe('what drills say against a backup', () => {
  const backups = [backup(1, null, { checks: passed }), backup(2, 'b1'), backup(3, 'b2')]
  const drill = (id: string, day: number, status: ProofOutcome['status']) => proof(id, day, status, 'drill')

  it('costs no proof when they only failed', () => {
    const proofs = [proof('b2', 5, 'ok'), drill('b1', 6, 'drill-failed'), drill('b2', 6, 'drill-failed')]
    expect(proven(backups, proofs)).toEqual(['b1', 'b2'])
    expect([...drillMarks(proofs).keys()]).toEqual(['b1', 'b2'])
    expect([...unsoundBackups(backups, proofs)]).toEqual([])
  })

  it('makes it unsound, and what stands on it, when they found its content wrong', () => {
    const proofs = [drill('b1', 5, 'source-damaged'), proof('b1', 6, 'ok'), proof('b3', 6, 'ok')]
    expect(proven(backups, proofs)).toEqual([])
    expect([...unsoundBackups(backups, proofs)]).toEqual(['b1', 'b2', 'b3'])
    expect([...damagedByProof(proofs, now).keys()]).toEqual([])
    // A later drill that failed tells nothing; one that passed speaks for its own backup.
    const later = [...proofs, drill('b1', 7, 'drill-failed'), drill('b2', 7, 'ok')]
    expect([...unsoundBackups(backups, later)]).toEqual(['b1'])
    expect(proven(backups, later)).toEqual(['b2', 'b3'])
    expect(drillMarks(later).get('b1')).toMatchObject({ status: 'source-damaged' })
    expect([...drillMarks([...later, drill('b1', 8, 'ok')]).keys()]).toEqual([])
  })
})
