import { describe, expect, it } from 'vitest'
import { giveBack } from '../src/give-back.js'

describe('giving memory back', () => {
  it('parts with a buffer that is all of its memory, and does so again and again', () => {
    for (let round = 0; round < 3; round += 1) {
      const bytes = Buffer.allocUnsafeSlow(100_000)
      const { buffer } = bytes
      giveBack(bytes)
      expect([bytes.byteLength, buffer.byteLength]).toEqual([0, 0])
    }
  })

  it('leaves what others may share: a view, Node’s pool, shared memory', () => {
    const whole = new Uint8Array([1, 2, 3, 4])
    giveBack(whole.subarray(1))
    giveBack(whole.subarray(0, 3))
    expect([...whole]).toEqual([1, 2, 3, 4])
    const pooled = Buffer.from('in the pool')
    giveBack(pooled)
    expect(pooled.toString()).toBe('in the pool')
    const shared = new Uint8Array(new SharedArrayBuffer(8))
    giveBack(shared)
    expect(shared.byteLength).toBe(8)
  })

  it('takes nothing for an answer to nothing', () => {
    expect(() => giveBack(new Uint8Array(0))).not.toThrow()
  })
})
