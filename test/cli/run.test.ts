import { describe, expect, it } from 'vitest'
import { runCommandLine } from '../../src/cli/run.js'
import { fakeIo, runFake } from './fake-io.js'

describe('errors of the command line itself', () => {
  it('are JSON when JSON is asked for, by flag or by environment', async () => {
    const byFlag = await runFake(['create', '--tpye', 'full', '--json'])
    expect(JSON.parse(byFlag.stderr).error).toMatchObject({ code: 'unknown_option', exit_code: 2 })
    const byEnvironment = await runFake(['cretae'], { env: { NEXUS_BACKUP_JSON: '1' } })
    expect(JSON.parse(byEnvironment.stderr).error.code).toBe('unknown_command')
    expect(byFlag.stdout + byEnvironment.stdout).toBe('')
  })

  it('never throw', async () => {
    const { io } = fakeIo()
    for (const argv of [[''], ['--'], ['--repo'], ['\0'], ['list', '--config', '\0']]) {
      expect(await runCommandLine(argv, io)).toBeGreaterThan(0)
    }
  })
})
