import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'
import { run, start } from './helpers/run.js'

/** A configured source of files, whose hooks are scripts for a shell. */
function hooked() {
  const room = temporaryDirectory()
  mkdirSync(join(room, 'up'))
  writeFileSync(join(room, 'up/x'), 'x')
  const log = join(room, 'log')
  const file = join(room, 'config.yaml')
  const configure = (before: string) => {
    const hooks = {
      before: ['/bin/sh', '-c', before],
      after: { command: ['/bin/sh', '-c', `echo "after $NEXUS_BACKUP_OUTCOME" >> '${log}'`], timeout: '1min' },
    }
    const source = { kind: 'files', paths: [join(room, 'up')], ...hooks }
    const repositories = { local: { path: join(room, 'repository') } }
    writeFileSync(file, JSON.stringify({ state: join(room, 'state'), repositories, sources: { up: source } }))
  }
  const lines = () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [])
  return { room, configure, lines, args: ['create', '--init', '--config', file] }
}

it('a create that is killed between its hooks is told by the next one', async () => {
  const { configure, lines, args } = hooked()
  configure('kill -9 $PPID')
  expect(await run(args)).toMatchObject({ signal: 'SIGKILL' })
  expect(lines()).toEqual([])
  configure('true')
  const next = await run(args)
  expect(next.code).toBe(3)
  expect(next.stderr).toContain('was killed between its hooks before and after: its hook after was run now')
  expect(lines()).toEqual(['after killed', 'after done'])
  expect(await run(args)).toMatchObject({ code: 0, stderr: '' })
})

it('a signal ends a hook with all that it has started, and the hook after is run', async () => {
  const { room, configure, lines, args } = hooked()
  const pids = join(room, 'pids')
  configure(`trap '' TERM; sleep 1000 & echo "$! $$" > '${pids}'; echo begun; sleep 1000`)
  const running = start(args)
  running.child.stderr?.on('data', (text: string) => {
    if (text.includes('begun')) running.child.kill('SIGTERM')
  })
  const { code, signal } = await running.done
  expect(code === 143 || signal === 'SIGTERM').toBe(true)
  expect(lines()).toEqual(['after interrupted'])
  for (const pid of readFileSync(pids, 'utf8').trim().split(' ')) {
    expect(existsSync(`/proc/${pid}/fd/0`), pid).toBe(false)
  }
})
