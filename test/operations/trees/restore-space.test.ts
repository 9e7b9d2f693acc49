import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { assertTreeSpace } from '../../../src/operations/trees/tree-space.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { directories } from '../directories.js'

const MB = 1 << 20

/** Two roots, the second on a disk of its own that has so many bytes. */
function twoDisks(bytes: number, order: 'small first' | 'small last') {
  const [large, small] = [temporaryDirectory(), smallDisk(join(temporaryDirectory(), 'disk'), bytes)]
  const [onLarge, onSmall] = [join(large, 'files'), join(small, 'files')]
  for (const path of [onLarge, onSmall]) mkdirSync(path)
  const paths = order === 'small last' ? [onLarge, onSmall] : [onSmall, onLarge]
  const at = directories({ paths })
  const target = { kind: 'in-place', source: at.source } as const
  return { at, onLarge, onSmall, small, run: () => restore(at.context, at.journal, at.restoring(target)) }
}

describe.skipIf(!canMount)('the space of several disks', () => {
  it('is looked for on each: one too small is named, and nothing is staged', async () => {
    const { at, onSmall, small, run } = twoDisks(3 * MB, 'small last')
    writeFileSync(join(onSmall, 'a'), randomBytes(2 * MB))
    await at.backUp()
    await expect(run()).rejects.toMatchObject({ code: 'disk_full', message: expect.stringContaining(small) })
    expect(readdirSync(small)).toEqual(['files'])
  })

  it('is not wanted of the first one for what goes to the others', async () => {
    const { at, onLarge, onSmall, run } = twoDisks(2 * MB, 'small first')
    writeFileSync(join(onLarge, 'a'), randomBytes(3 * MB))
    writeFileSync(join(onSmall, 'b'), 'b')
    await at.backUp()
    rmSync(join(onLarge, 'a'))
    await run()
    expect(statSync(join(onLarge, 'a')).size).toBe(3 * MB)
  })

  it('is not wanted for holes', async () => {
    const at = directories()
    execFileSync('truncate', ['-s', '64M', join(at.uploads, 'holes')])
    await at.backUp()
    const disk = smallDisk(join(temporaryDirectory(), 'disk'), 2 * MB)
    const to = join(disk, 'restored')
    await restore(at.context, at.journal, at.restoring({ kind: 'path', path: to, force: false }))
    expect(statSync(join(to, at.uploads, 'holes')).size).toBe(64 * MB)
  })
})

it('is that of the place where each file goes, a place within a place included', async () => {
  const room = temporaryDirectory()
  const file = { type: 'file', sparse: false } as const
  const tree = { entries: () => [{ ...file, path: 'a/b/c', size: Number.MAX_SAFE_INTEGER }] as never }
  const place = join(room, 'gone', 'b')
  const elsewhere = new Map([
    ['a', join(room, 'a')],
    ['a/b', place],
  ])
  // The directory around it is the one that is asked, and that one is not there.
  await expect(assertTreeSpace(tree, { directory: room, elsewhere })).rejects.toMatchObject({ code: 'ENOENT' })
  mkdirSync(join(room, 'gone'))
  await expect(assertTreeSpace(tree, { directory: room, elsewhere })).rejects.toMatchObject({
    message: expect.stringContaining(join(room, 'gone')),
  })
})
