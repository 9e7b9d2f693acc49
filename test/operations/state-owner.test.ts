import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { defaultStateDirectory } from '../../src/config/locate.js'
import { shareStateDirectory } from '../../src/operations/state-owner.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const isRoot = process.getuid?.() === 0

describe.skipIf(!isRoot)('the state directory of a repository that is made for another user (needs root)', () => {
  it('is made for that user, who can enter what lies above it, whatever the umask', async () => {
    const warnings: string[] = []
    const warn = (message: string) => void warnings.push(message)
    const uid = Number((await execa('id', ['-u', 'nobody'])).stdout)
    const stateDirectory = join(temporaryDirectory(), 'deep/er/state')
    const mask = process.umask(0o077)
    try {
      await shareStateDirectory({ stateDirectory, warn }, 'nobody')
    } finally {
      process.umask(mask)
    }
    expect(statSync(stateDirectory)).toMatchObject({ uid, mode: 0o40700 })
    for (const above of ['..', '../..']) {
      expect(statSync(join(stateDirectory, above))).toMatchObject({ uid: 0, mode: 0o40755 })
    }
    await shareStateDirectory({ stateDirectory, warn }, 'nobody')
    expect(warnings).toEqual([])
  })

  it('keeps its owner when it is there, and a warning has the command that gives it away', async () => {
    const warnings: string[] = []
    const warn = (message: string) => void warnings.push(message)
    const stateDirectory = join(temporaryDirectory(), 'state')
    mkdirSync(stateDirectory)
    await shareStateDirectory({ stateDirectory, warn }, 'nobody')
    expect(statSync(stateDirectory).uid).toBe(0)
    const [, command = ''] = /give it away as a whole: (chown .*)$/.exec(warnings.join()) ?? []
    await execa('sh', ['-c', command])
    warnings.length = 0
    await shareStateDirectory({ stateDirectory, warn }, 'nobody')
    expect(warnings).toEqual([])
  })
})

describe('the state directory that nobody names', () => {
  it('is the one of the machine for root and for whoever it belongs to', () => {
    const machine = temporaryDirectory()
    const owner = statSync(machine).uid
    const around = { cwd: '/', home: '/home/app', xdgConfigHome: undefined, xdgStateHome: undefined }
    expect(defaultStateDirectory({ ...around, uid: 0 }, machine)).toBe(machine)
    expect(defaultStateDirectory({ ...around, uid: owner }, machine)).toBe(machine)
    expect(defaultStateDirectory({ ...around, uid: owner + 7 }, machine)).toBe('/home/app/.local/state/nexus-backup')
    expect(defaultStateDirectory({ ...around, uid: 7 }, join(machine, 'absent'))).toMatch(/^\/home\/app/)
  })
})
