import { describe, expect, it } from 'vitest'
import { walCommand, walStatus } from '../../src/cli/wal-command.js'

describe('the commands that PostgreSQL calls', () => {
  it('are known wherever options stand, also with mistakes in them', () => {
    expect(walCommand(['pitr', 'fetch', 'a', 'b'])).toBe('fetch')
    expect(walCommand(['--config', 'pitr', '--quiet', 'pitr', '--source', 'x', 'fetch'])).toBe('fetch')
    expect(walCommand(['pitr', 'archive', '--nonsense'])).toBe('archive')
    for (const words of [['pitr', 'points', 'fetch'], ['restore', 'pitr', 'fetch'], ['fetch', 'pitr'], []]) {
      expect(walCommand(words)).toBeUndefined()
    }
  })

  it('end with what PostgreSQL takes the right way', () => {
    const all = [0, 1, 2, 4, 5, 6, 7, 8, 126, 130, 143]
    expect(all.map(status => walStatus('fetch', status))).toEqual([0, 126, 126, 126, 5, 126, 126, 126, 126, 130, 143])
    expect(all.map(status => walStatus('archive', status))).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 1, 1, 1])
    expect(all.map(status => walStatus(undefined, status))).toEqual(all)
  })
})
