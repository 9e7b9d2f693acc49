import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeptLines } from '../../../src/sources/postgres/kept-lines.js'

describe('what a program says', () => {
  it('is kept line by line, wherever it was cut', () => {
    const line = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 }).filter(text => text.trim() !== '')
    fc.assert(
      fc.property(fc.array(line, { maxLength: 100 }), fc.integer({ min: 1, max: 30 }), (lines, pieceLength) => {
        const text = lines.map(each => `${each}\n`).join('')
        const kept = new KeptLines()
        for (let at = 0; at < text.length; at += pieceLength) kept.push(text.slice(at, at + pieceLength))
        expect(kept.lines()).toEqual(lines)
      }),
    )
  })

  it('keeps beginning and end of what is endless, and says how much it left out', () => {
    const kept = new KeptLines()
    for (let count = 1; count <= 1000; count++) kept.push(`line ${count}\n`)
    kept.push('no newline at the end')
    const lines = kept.lines()
    expect(lines.length).toBe(402)
    expect(lines[0]).toBe('line 1')
    expect(lines[200]).toBe('… 600 more lines …')
    expect(lines.slice(-2)).toEqual(['line 1000', 'no newline at the end'])
  })
})
