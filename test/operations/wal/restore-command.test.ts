import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { restoreCommand } from '../../../src/operations/wal/restore-command.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** Runs a restore_command as PostgreSQL does, with a program of our own in the place of ours. */
function restored(directory: string, script: string, node = '/usr/bin/node') {
  const program = join(directory, 'nexus backup')
  writeFileSync(program, `#!/bin/sh\n${script}\n`)
  chmodSync(program, 0o755)
  const command = restoreCommand({
    node,
    program,
    flags: ['--config', join(directory, "o'config.yaml")],
    source: 'main',
  })
  const text = command.replace(/%([fp%])/g, (_, letter: string) => (letter === '%' ? '%' : `the-${letter}`))
  return spawnSync('sh', ['-c', text], { encoding: 'utf8' })
}

describe('a restore_command', () => {
  it.each([
    ['exit 0', 0],
    ['exit 5', 5],
    ['exit 1', 126],
    ['exit 2', 126],
    ['exit 9', 126],
    ['exit 125', 126],
    ['exit 127', 126],
    ['kill -9 $$', 126],
    ['kill -15 $$', 126],
  ])('ends recovery only for a file that is not in the archive: %s is %i', (script, status) => {
    expect(restored(temporaryDirectory(), script).status).toBe(status)
  })

  it('hands over Node, configuration and source whatever their paths are', () => {
    const directory = join(temporaryDirectory(), "50% o'clock $HOME")
    mkdirSync(directory)
    const log = join(directory, 'log')
    restored(directory, `echo "$NEXUS_BACKUP_NODE" "$@" > "$(dirname "$0")/log"`, '/opt/no de%f/node')
    expect(readFileSync(log, 'utf8')).toBe(
      `/opt/no de%f/node --config ${directory}/o'config.yaml pitr fetch --source main the-f the-p\n`,
    )
  })

  it('names repository and key where there is no configuration', () => {
    const flags = ['--repo', '/r', '--key-file', '/k', '--passphrase-file', '/p f']
    const command = restoreCommand({ node: '/n', program: '/p', flags, source: 'main' })
    expect(command).toContain(
      "NEXUS_BACKUP_NODE=/n /p --repo /r --key-file /k --passphrase-file '/p f' pitr fetch --source main %f %p;",
    )
    execFileSync('sh', ['-n', '-c', command])
  })
})
