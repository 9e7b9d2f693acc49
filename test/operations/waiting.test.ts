import { describe, expect, it } from 'vitest'
import { waitForRun } from '../../src/operations/waiting.js'
import { testContext } from '../helpers/context.js'

/** Somebody who lets go when he has been looked at so many times. */
function holderFor(looks: number) {
  let left = looks
  return () => (left-- > 0 ? 'the restore by process 4711 (user root)' : null)
}
const wish = (looks: number) => ({ source: 'app', code: 'restore_running', holder: holderFor(looks) })

describe('waiting for another run', () => {
  it('says for whom once, and goes on when it is over', async () => {
    const warnings: string[] = []
    const context = testContext({ lockWaitSeconds: 60, warn: message => warnings.push(message) })
    await waitForRun(context, wish(3))
    expect(warnings).toEqual(['app: waiting for the restore by process 4711 (user root)'])
    await waitForRun(testContext(), wish(0))
  })

  it('ends as locked, with the name and what to do, when it may not wait or not any longer', async () => {
    await expect(waitForRun(testContext(), wish(1))).rejects.toMatchObject({
      kind: 'locked',
      code: 'restore_running',
      message: 'app is held by the restore by process 4711 (user root)',
      hint: expect.stringContaining('--wait 600'),
    })
    const inVain = waitForRun(testContext({ lockWaitSeconds: 0.2 }), wish(Number.POSITIVE_INFINITY))
    await expect(inVain).rejects.toMatchObject({ message: expect.stringContaining('after waiting 0.2 seconds') })
  })

  it('ends at a signal', async () => {
    const stop = new AbortController()
    const waiting = waitForRun(
      testContext({ lockWaitSeconds: 60, signal: stop.signal }),
      wish(Number.POSITIVE_INFINITY),
    )
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ kind: 'interrupted' })
  })
})
