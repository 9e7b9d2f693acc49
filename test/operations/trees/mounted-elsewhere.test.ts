import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { putTreesInPlace } from '../../../src/operations/trees/tree-in-place.js'
import { mountsOf } from '../../../src/system/mount-namespaces.js'
import { printed, startProcess } from '../../end-to-end/helpers/run.js'
import { canMount } from '../../end-to-end/helpers/small-disk.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

function place() {
  const room = temporaryDirectory()
  const [target, other] = [join(room, 'data'), join(room, 'seen here')]
  mkdirSync(join(target, 'inner'), { recursive: true })
  mkdirSync(other)
  const staged = join(room, '.data.staged')
  const moves = [{ target, staged, previous: `${target}.before-restore-20251201T000000.000Z` }]
  const placement = { source: 'up', moves, disposable: true, scratch: [], service: null }
  const run = () => putTreesInPlace(testContext(), placement, async () => mkdirSync(staged))
  return { room, target, other, run }
}

/** A program in a mount namespace of its own, as a container has one, until the test ends. */
async function container(from: string, to: string) {
  const script = 'mount --bind "$1" "$2" && echo mounted && exec sleep 60'
  const running = startProcess('unshare', ['--mount', 'sh', '-c', script, 'sh', from, to])
  await printed(running, 'mounted')
  return running
}

describe.skipIf(!canMount)('a directory that is mounted elsewhere', () => {
  it.each([
    ['itself', ''],
    ['something in it', 'inner'],
  ])('in a container, %s, is refused with the name of the program', async (_, below) => {
    const { target, other, run } = place()
    const running = await container(join(target, below), other)
    await expect(run()).rejects.toMatchObject({
      kind: 'refused',
      code: 'mounted_elsewhere',
      message: expect.stringMatching(new RegExp(`seen here for (sleep|sh).*pid ${running.child.pid}`)),
    })
    running.child.kill('SIGKILL')
    await running.done
    await expect(run()).resolves.toHaveLength(1)
  })

  it('on this machine is refused with what to unmount', async () => {
    const { target, other, run } = place()
    execFileSync('mount', ['--bind', target, other])
    onTestFinished(() => void execFileSync('umount', ['--lazy', other]))
    await expect(run()).rejects.toMatchObject({
      code: 'mounted_elsewhere',
      hint: expect.stringContaining(`umount '${other}'`),
    })
  })

  it('as a part of a directory around it shows what is swapped in, and is not refused', async () => {
    const { room, target, run } = place()
    const other = temporaryDirectory()
    await container(room, other)
    expect(mountsOf(target, { inside: true })).toEqual([])
    writeFileSync(join(target, 'old'), '')
    await expect(run()).resolves.toHaveLength(1)
  })
})
