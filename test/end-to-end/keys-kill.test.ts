import { describe, expect, it } from 'vitest'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import {
  keyedPlace,
  killAdds,
  killBeginnings,
  killKeyMaking,
  killRemovals,
  killRotations,
  killTrusts,
} from './helpers/key-kills.js'
import { leftoversIn } from './helpers/place.js'
import { canMount, fill, smallDisk } from './helpers/small-disk.js'

const server = await startS3()

describe('SIGKILL at random moments', () => {
  it('of keys rotate', () => killRotations(2))
  it('of keys add', () => killAdds(2))
  it('of keys add in a repository that is not encrypted', () => killBeginnings(1))
  it('of keys remove', () => killRemovals(1))
  it('of keys trust', () => killTrusts(1))
  it('of keys create', () => killKeyMaking(2))
  it('of keys rotate in a bucket', () => killRotations(1, server))
  it('of keys add in a bucket', () => killAdds(1, server))
})

describe('at the same time', () => {
  it('rotations take turns with --wait, and backups go on', async () => {
    const { here, held } = await keyedPlace(1)
    const rotate = () => here.keys(['rotate', '--wait', '60'], held)
    const outcomes = await Promise.all([rotate(), here.at.run('create', ['--wait', '60']), rotate(), rotate()])
    expect(outcomes.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0, 0])
    await here.expectOpen(held)
  })
})

// Skipped where the tests may not mount a small disk: that takes root, and not every container's root may.
it.skipIf(!canMount)(
  'a full disk fails keys rotate and keys add, changes nothing, and they are run again',
  async () => {
    const directory = smallDisk(temporaryDirectory(), 4 << 20)
    const { here, held } = await keyedPlace(2, { directory })
    const { at } = here
    const before = await here.recipients()
    const fresh = await here.newKey()
    // From no byte at all up to so many that some of the files fit.
    for (const room of [0, 8192]) {
      const free = fill(at.repository, room)
      for (const words of [['rotate'], ['add', `key-file=${fresh}`]]) {
        const { code, stderr } = await here.keys(words, held)
        if (code === 0) continue
        expect([code, stderr]).toEqual([1, expect.stringMatching(/no space left.*\n.*hint: /)])
      }
      free()
      await here.expectOpen(held)
    }
    expect(await here.recipients()).toEqual(expect.arrayContaining(before))
    expect(await here.keys(['rotate'], [...held, fresh])).toMatchObject({ code: 0 })
    await here.expectOpen(held)
    expect(leftoversIn(at.repository)).toEqual([])
  },
)
