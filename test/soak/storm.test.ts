import { describe, expect, test } from 'vitest'
import { calm, captureFor, type Point, proveAll, report, type Storm, storm } from '../end-to-end/helpers/storm.js'

const MINUTES = Number(process.env.SOAK_MINUTES ?? 10)

/** Captures and proves in turns, so that a long run needs no more room than a short one. */
async function rounds(where: Storm, milliseconds: number): Promise<Point[]> {
  const all: Point[] = []
  const end = performance.now() + milliseconds
  while (performance.now() < end) {
    const points = await captureFor(where, 20_000, { pause: 500 })
    await proveAll(where, points)
    all.push(...points)
    await where.ok('prune', ['--keep-last', '2', '--yes'])
  }
  return all
}

describe(`a storm of ${MINUTES} minutes`, () => {
  test('in WAL mode: four writers, checkpoints and VACUUM', async () => {
    const where = await storm()
    const programs = await Promise.all([
      where.writer('writer', 0, ['small']),
      where.writer('writer', 1, ['large']),
      where.writer('writer', 2, ['small']),
      where.writer('writer', 3, ['large']),
      where.unleash('maintenance', ['checkpoint']),
      where.unleash('maintenance', ['vacuum']),
    ])
    const points = await rounds(where, (MINUTES * 60_000) / 2)
    report('WAL storm', { points: points.length, counts: await Promise.all(programs.map(calm)) })
    expect(points.length).toBeGreaterThan(0)
  })

  test('through every journal mode and page size, shrinking, vacuuming and replaced', async () => {
    const where = await storm()
    const shifter = await where.writer('shifter', 0)
    const points = await rounds(where, (MINUTES * 60_000) / 2)
    report('shifting storm', { points: points.length, counts: await calm(shifter) })
    expect(points.length).toBeGreaterThan(0)
  })

  test.each([1024, 4096, 65536])('past the lock-byte page with pages of %d bytes', async pageSize => {
    const where = await storm({ pageSize, ballast: 1_030_000_000 })
    const full = await captureFor(where, 1, { types: ['full'] })
    const programs = await Promise.all([
      where.writer('writer', 0, ['large']),
      where.unleash('maintenance', ['checkpoint']),
    ])
    const grow = await where.unleash('ballast', ['60000000'])
    const points = await captureFor(where, 20_000, { types: ['incr', 'diff', 'incr'] })
    report(`lock-byte page, ${pageSize}`, { counts: await Promise.all([...programs, grow].map(calm)) })
    const last = await captureFor(where, 1, { types: ['incr'] })
    const { document } = await where.json('list')
    expect(document.backups.at(-1).bytes_source).toBeGreaterThan(2 ** 30)
    await proveAll(where, [...full, ...points.slice(-2), ...last])
  })
})
