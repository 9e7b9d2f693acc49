import { describe, expect, it } from 'vitest'
import { brokenChains } from '../../src/policy/chains.js'
import { full, incr } from './histories.js'

const at = '2025-11-01T00:00:00Z'

describe('chains', () => {
  it('say what breaks them, also for all that stand on the break', () => {
    const members = [incr(5, at, 'b4'), incr(4, at, 'b3'), incr(3, at, 'b9'), full(1, at), incr(2, at, 'b1')]
    expect(Object.fromEntries(brokenChains(members, new Set()))).toEqual({
      b3: 'its parent b9 is missing',
      b4: 'its parent b3 cannot be restored',
      b5: 'its parent b4 cannot be restored',
    })
    expect([...brokenChains(members, new Set(['b1'])).keys()].sort()).toEqual(['b1', 'b2', 'b3', 'b4', 'b5'])
    expect(brokenChains(members, new Set(['b9'])).get('b3')).toBe('its parent b9 is damaged')
  })

  it('do not go in circles, whatever a manifest claims', () => {
    const members = [
      incr(1, at, 'b2'),
      incr(2, at, 'b1'),
      incr(3, at, 'b3'),
      full(4, at),
      { ...incr(4, at, 'b4'), id: 'twin' },
    ]
    expect(Object.fromEntries(brokenChains(members, new Set()))).toEqual({
      b1: 'its parent b2 is not older',
      b2: 'its parent b1 cannot be restored',
      b3: 'its parent b3 is not older',
      twin: 'its parent b4 is not older',
    })
  })

  it('need a named parent unless they are full', () => {
    const nameless = full(2, at, { type: 'diff' })
    expect(brokenChains([full(1, at, { parent: 'b0' }), nameless], new Set())).toEqual(
      new Map([['b2', 'its parent is not named']]),
    )
  })
})
