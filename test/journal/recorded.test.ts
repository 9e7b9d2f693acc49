import { describe, expect, it } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { recorded } from '../../src/journal/recorded.js'
import type { Journal } from '../../src/journal/types.js'
import { testContext } from '../helpers/context.js'

const entry = { operation: 'create', source: 'itsm', repository: '/repo' }

function listening(fail: 'begin' | 'end' | 'never' = 'never'): { journal: Journal; events: unknown[] } {
  const events: unknown[] = []
  const journal: Journal = {
    begin(begun) {
      if (fail === 'begin') throw new Error('no begin')
      events.push(begun)
      return {
        end(outcome) {
          if (fail === 'end') throw new Error('no end')
          events.push(outcome)
        },
      }
    },
    read: () => ({ records: [], chain: { ok: true } }),
    head: () => null,
    close: () => {},
  }
  return { journal, events }
}

describe('recorded', () => {
  it('writes done around work that goes well, or what its outcome says', async () => {
    const { journal, events } = listening()
    expect(await recorded(testContext(), journal, entry, async () => 7)).toBe(7)
    await recorded(
      testContext(),
      journal,
      entry,
      async () => 'id-1',
      backup => ({ result: 'damage', backup }),
    )
    expect(events).toEqual([entry, { result: 'done' }, entry, { result: 'damage', backup: 'id-1' }])
  })

  it('writes how work failed, and throws that on', async () => {
    const { journal, events } = listening()
    const refusal = new NexusError('refused', 'in_use', 'itsm is in use')
    await expect(recorded(testContext(), journal, entry, () => Promise.reject(refusal))).rejects.toBe(refusal)
    await expect(recorded(testContext(), journal, entry, () => Promise.reject(new Error('bug')))).rejects.toThrow('bug')
    expect(events.filter(event => event !== entry)).toEqual([
      { result: 'refused', error: 'itsm is in use' },
      { result: 'failed', error: 'bug' },
    ])
  })

  it('calls work interrupted that a signal stopped', async () => {
    const { journal, events } = listening()
    const context = testContext({ signal: AbortSignal.abort(new Error('stopped')) })
    await expect(recorded(context, journal, entry, async () => context.signal.throwIfAborted())).rejects.toThrow(
      'stopped',
    )
    expect(events.at(-1)).toEqual({ result: 'interrupted', error: 'stopped' })
  })

  it('reports a journal that cannot be written, and neither stops the work nor hides its outcome', async () => {
    for (const moment of ['begin', 'end'] as const) {
      const reported: unknown[] = []
      const context = testContext({ journalFailed: error => reported.push(error) })
      const { journal } = listening(moment)
      expect(await recorded(context, journal, entry, async () => 7)).toBe(7)
      await expect(recorded(context, journal, entry, () => Promise.reject(new Error('bug')))).rejects.toThrow('bug')
      expect(reported).toEqual([new Error(`no ${moment}`), new Error(`no ${moment}`)])
    }
  })
})
