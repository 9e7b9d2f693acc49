import { describe, expect, test } from 'vitest'
import { calm, captureFor, proveAll, report, storm } from './helpers/storm.js'

describe('a database under a write storm', () => {
  test('gives a committed state to every backup taken beside writers, checkpoints and VACUUM in WAL mode', async () => {
    const where = await storm()
    const programs = await Promise.all([
      where.writer('writer', 0, ['small']),
      where.writer('writer', 1, ['large']),
      where.unleash('maintenance', ['checkpoint']),
      where.unleash('maintenance', ['vacuum']),
    ])
    const points = await captureFor(where, 4000, { least: 2 })
    const counts = await Promise.all(programs.map(calm))
    expect(counts[0]?.commits).toBeGreaterThan(0)
    expect(counts[1]?.commits).toBeGreaterThan(0)
    expect(counts[2]?.TRUNCATE).toBeGreaterThan(0)
    const sequences = await proveAll(where, points)
    report('WAL storm', { points: points.length, counts, sequences })
  })

  test('gives a committed state to every backup while it changes journal mode, page size and file', async () => {
    const where = await storm()
    const shifter = await where.writer('shifter', 0)
    const points = await captureFor(where, 4000, { least: 2 })
    const counts = await calm(shifter)
    const sequences = await proveAll(where, points)
    report('shifting storm', { points: points.map(({ type }) => type).join(' '), counts, sequences })
    expect(counts.commits).toBeGreaterThan(0)
  })

  test('gives a committed state to every backup while it grows past the lock-byte page at 1 GiB', async () => {
    // Pages of 512 bytes: more than 2^21 of them, and the page of byte 2^30 among the first that are new.
    const where = await storm({ pageSize: 512, autoVacuum: 'none', ballast: 1_062_500_000 })
    const full = await captureFor(where, 1, { types: ['full'], args: ['--check', 'none'] })
    const writer = await where.writer('writer', 0, ['large'])
    const points = [...full, ...(await captureFor(where, 2000, { types: ['incr'] }))]
    const counts = await calm(writer)
    const last = await captureFor(where, 1, { types: ['incr'] })
    const sizes = await where.json('list')
    const bytes = sizes.document.backups.map((backup: { bytes_source: number }) => backup.bytes_source)
    expect(bytes[0]).toBeLessThan(2 ** 30)
    expect(bytes.at(-1)).toBeGreaterThan(2 ** 30)
    const sequences = await proveAll(where, last)
    report('lock-byte page', { points: points.length + 1, bytes, counts, sequences })
  })
})

test('a lone writer that waits for nobody is never in the way of captures in WAL mode', async () => {
  const where = await storm()
  const watched = await where.writer('writer', 0, ['alone'])
  const points = await captureFor(where, 2000, { least: 2 })
  const beside = await calm(watched)
  report('longest transaction', { beside, captures: points.length })
  // A reader may take the write lock for the blink in which it finds the shared index half written (SQLite wal.c,
  // walIndexReadHdr), as any reader does; never for as long as a capture lasts.
  expect(beside).toMatchObject({ busyLong: 0 })
  expect(beside.commits).toBeGreaterThan(0)
})
