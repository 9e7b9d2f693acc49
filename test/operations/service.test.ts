import { describe, expect, it, onTestFinished } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { startService, withServiceStopped } from '../../src/operations/service.js'
import { fakeSystemctl } from '../end-to-end/helpers/systemctl.js'
import { temporaryDirectory } from '../helpers/temporary.js'

/** A systemctl of our own on this process's PATH until the test ends. */
function systemctl(fails?: 'stop' | 'start'): { calls(): string[] } {
  const fake = fakeSystemctl(temporaryDirectory(), fails)
  search(fake.env.PATH)
  return fake
}

function search(path: string): void {
  const { PATH } = process.env
  process.env.PATH = path
  onTestFinished(() => {
    process.env.PATH = PATH
  })
}

const told = (value: string) => `${value} is in place`
const around = ['stop -- app.service', 'start -- app.service']

describe('work while a service is stopped', () => {
  it('is done without any where none is configured', async () => {
    const { calls } = systemctl()
    expect(await withServiceStopped(null, async () => 'it', told)).toBe('it')
    expect(calls()).toEqual([])
  })

  it('is done between stop and start', async () => {
    const { calls } = systemctl()
    let during: string[] = []
    const work = async () => {
      during = calls()
      return 'it'
    }
    expect(await withServiceStopped('app.service', work, told)).toBe('it')
    expect([during, calls()]).toEqual([around.slice(0, 1), around])
  })

  it('is not done when it cannot be stopped, and what may be half stopped is started again', async () => {
    const { calls } = systemctl('stop')
    const stopped = withServiceStopped('app.service', () => Promise.reject(new Error('it was done')), told)
    await expect(stopped).rejects.toMatchObject({
      kind: 'failed',
      code: 'service_failed',
      message: 'systemctl could not stop app.service: Job for app.service failed.',
      hint: 'nothing was replaced; see: systemctl status app.service',
    })
    expect(calls()).toEqual(around)
  })

  it('that fails is told as it is, and the service runs again', async () => {
    const { calls } = systemctl()
    const failure = new NexusError('refused', 'database_in_use', 'somebody uses it')
    await expect(withServiceStopped('app.service', () => Promise.reject(failure), told)).rejects.toBe(failure)
    expect(calls()).toEqual(around)
  })

  it('that fails and leaves the service down tells both, with what starts it', async () => {
    systemctl('start')
    const failure = new NexusError('refused', 'database_in_use', 'somebody uses it', { hint: 'stop that' })
    const failing = withServiceStopped('app.service', () => Promise.reject(failure), told)
    await expect(failing).rejects.toMatchObject({
      kind: 'refused',
      code: 'database_in_use',
      message: 'somebody uses it; and systemctl could not start app.service: Job for app.service failed.',
      hint: expect.stringContaining('start it by hand: systemctl start app.service'),
      cause: failure,
    })
    const defect = new TypeError('a defect')
    await expect(withServiceStopped('app.service', () => Promise.reject(defect), told)).rejects.toBe(defect)
  })

  it('that is done is told although the service does not start', async () => {
    systemctl('start')
    await expect(withServiceStopped('app.service', async () => 'it', told)).rejects.toMatchObject({
      kind: 'failed',
      code: 'service_failed',
      message: 'it is in place, but systemctl could not start app.service: Job for app.service failed.',
      hint: expect.stringContaining('systemctl start app.service'),
    })
  })

  it('says when there is no systemctl at all', async () => {
    search(temporaryDirectory())
    await expect(startService('app.service')).rejects.toMatchObject({
      message: 'systemctl could not start app.service: there is no systemctl on this machine',
    })
  })
})
