import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { HookSettings } from '../../../src/config/settings.js'
import { create } from '../../../src/operations/create.js'
import { lockOptions } from '../../../src/operations/locked.js'
import { openRepository } from '../../../src/repository/open.js'
import { isRoot } from '../../sources/files/trees.js'
import { createRequest } from '../application.js'
import { type Directories, directories } from '../directories.js'

const shell = (script: string, timeout = 60_000) => ({ command: ['/bin/sh', '-c', script], timeout })

/** Directories with hooks that write down what they were told, one line each. */
function hooked(hooks: { before?: string; after?: string } = {}, wishes: Parameters<typeof directories>[0] = {}) {
  const place = directories(wishes)
  const log = join(place.room, 'log')
  const says = (more = '') =>
    `echo "$NEXUS_BACKUP_HOOK $NEXUS_BACKUP_SOURCE $NEXUS_BACKUP_OUTCOME $NEXUS_BACKUP_ID" >> '${log}'; ${more}`
  place.source.hooks = { before: shell(says(hooks.before)), after: shell(says(hooks.after)), file: null }
  writeFileSync(join(place.uploads, 'x'), 'x')
  const lines = () =>
    existsSync(log)
      ? readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map(line => line.trim())
      : []
  return Object.assign(place, { lines, says })
}

function backUpAll(place: Directories, ...sources: Directories['source'][]) {
  const request = createRequest(sources.length === 0 ? [place.source] : sources)
  return create(place.context, place.journal, request)
}

/** Whether a process is gone, or about to be. */
async function ends(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) {
    await new Promise(resolve => setImmediate(resolve))
  }
}

const record = (place: Directories) => join(place.context.stateDirectory, 'hooks/up.json')

describe('hooks around a source', () => {
  it('are run before and after each, and may make what is backed up', async () => {
    const place = hooked()
    const made = join(place.room, 'made')
    const { source, says } = place
    const second = { ...source, name: 'second', paths: [made] }
    second.hooks = { before: shell(says(`mkdir '${made}'`)), after: shell(says(`rm -r '${made}'`)), file: null }
    const { backups, failures } = await backUpAll(place, source, second)
    expect(failures).toEqual([])
    const [one, two] = backups
    expect(place.lines()).toEqual([
      'before up',
      `after up done ${one?.id}`,
      'before second',
      `after second done ${two?.id}`,
    ])
    expect([one?.concerns, two?.concerns, place.warnings]).toEqual([undefined, undefined, []])
    expect([existsSync(record(place)), existsSync(made)]).toEqual([false, false])
  })

  it('are not run by a plan, nor before a lock that another run holds', async () => {
    const place = hooked()
    await place.backUp()
    const repository = await openRepository(place.source.repository)
    const options = lockOptions(place.context, 'test')
    const lock = await repository.source('up').lock('writer', 'exclusive', options)
    const before = place.lines().length
    try {
      expect((await backUpAll(place)).failures).toMatchObject([{ kind: 'locked' }])
      await place.backUp({ dryRun: true })
    } finally {
      await lock.release()
    }
    expect(place.lines()).toHaveLength(before)
  })

  it('fail the backup when the first one fails; the second is run all the same', async () => {
    const place = hooked({ before: 'echo first; echo why >&2; exit 3' })
    const { backups, failures } = await backUpAll(place)
    expect(backups).toEqual([])
    expect(failures).toMatchObject([
      {
        kind: 'failed',
        code: 'hook_failed',
        message: expect.stringMatching(/^up: its hook before, \/bin\/sh -c .*, ended with 3: (why|first)$/),
        hint: expect.stringMatching(/^try it by hand .*NEXUS_BACKUP_SOURCE=up \/bin\/sh -c/),
      },
    ])
    expect(place.lines()).toEqual(['before up', 'after up failed'])
    expect(place.warnings.sort()).toEqual(['up: before: first', 'up: before: why'])
  })

  it('tell of both when the source fails and then the second', async () => {
    const place = hooked({ before: 'rm -r "$GONE"', after: 'exit 7' })
    Object.assign(place.context, { env: { ...process.env, GONE: place.uploads } })
    const { failures } = await backUpAll(place)
    expect(failures).toMatchObject([{ kind: 'not-found', code: 'source_missing' }])
    expect(failures[0]?.message).toMatch(/there is no .*; and up: its hook after, .*, ended with 7$/)
    expect(place.lines()).toEqual(['before up', 'after up failed'])
  })

  it('keep the backup when the second fails, and say so', async () => {
    const place = hooked({ after: 'exit 7' })
    const { backups, failures } = await backUpAll(place)
    expect(failures).toEqual([])
    const [backup] = backups
    expect(backup?.concerns).toMatchObject([
      {
        source: 'up',
        code: 'hook_failed',
        message: expect.stringMatching(new RegExp(`^${backup?.id} is made, but .*ended with 7$`)),
      },
    ])
  })

  it('get no secrets, and say no more than has room', async () => {
    const place = hooked({
      before:
        'env >&2; i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done; head -c 9000000 /dev/zero | tr "\\0" y',
    })
    const env = { PATH: process.env.PATH, AWS_SECRET_ACCESS_KEY: 'hidden', PGPASSWORD: 'hidden', KEPT: 'seen' }
    Object.assign(place.context, { env })
    await place.backUp()
    expect(place.warnings.length).toBe(51)
    expect(place.warnings.at(-1)).toMatch(/^up: before: and 2\d\d more lines$/)
    expect(place.warnings.join('\n')).not.toContain('hidden')
    expect(place.warnings).toContain('up: before: KEPT=seen')
    expect(Math.max(...place.warnings.map(line => line.length))).toBeLessThan(600)
  })
})

describe('a hook that goes on and on', () => {
  it('is ended with all that it has started when its time is over', async () => {
    const place = hooked()
    const pids = join(place.room, 'pids')
    const hook = shell(`sleep 1000 & echo "$$ $!" > '${pids}'; wait`, 1000)
    place.source.hooks = { before: hook, after: null, file: null }
    const { failures } = await backUpAll(place)
    expect(failures).toMatchObject([
      { code: 'hook_failed', message: expect.stringContaining('took longer than 1s and was ended') },
    ])
    for (const pid of readFileSync(pids, 'utf8').split(' ')) await ends(Number(pid))
  })

  it('of another user, which takes no signal, is not waited for either', async () => {
    const place = hooked()
    const hook = { ...shell('echo on; exec sleep 1000'), timeout: 200 }
    place.source.hooks = { before: hook, after: shell(place.says()), file: null }
    const kill = process.kill.bind(process)
    let group = 0
    vi.spyOn(process, 'kill').mockImplementation((pid, signal) => {
      if (pid >= 0) return kill(pid, signal)
      group = pid
      throw Object.assign(new Error('EPERM'), { code: 'EPERM' })
    })
    onTestFinished(() => {
      vi.restoreAllMocks()
      kill(group, 'SIGKILL')
    })
    const { failures } = await backUpAll(place)
    expect(failures).toMatchObject([
      { code: 'hook_failed', message: expect.stringMatching(/goes on: process \d+ belongs to another user/) },
    ])
    expect(place.lines()).toEqual(['after up failed'])
    expect(existsSync(record(place))).toBe(false)
  })

  it('does not hold the run up when it leaves a daemon behind', async () => {
    const place = hooked({ before: 'sleep 60 & echo $! >&2' })
    await place.backUp()
    const pid = Number(place.warnings[0]?.split(' ').at(-1))
    process.kill(pid)
  })

  it.each(['before', 'after'] as const)('is ended by a signal: %s', async when => {
    const place = hooked({ [when]: 'echo on; exec sleep 1000' })
    const stopping = new AbortController()
    const warn = (message: string) => {
      place.warnings.push(message)
      if (message === `up: ${when}: on`) stopping.abort(new Error('SIGTERM'))
    }
    Object.assign(place.context, { signal: stopping.signal, warn })
    const run = backUpAll(place)
    if (when === 'before') {
      await expect(run).rejects.toMatchObject({ code: 'interrupted' })
      expect(place.lines()).toEqual(['before up', 'after up interrupted'])
    } else {
      const { backups } = await run
      expect(backups[0]?.concerns).toMatchObject([
        { code: 'hook_failed', message: expect.stringContaining('ended by a signal') },
      ])
    }
    expect(existsSync(record(place))).toBe(false)
  })

  it('is run to its end after a signal that stopped the backup', async () => {
    const place = hooked({ after: 'sleep 0.1; echo "and more" >> "$LOG"' })
    const stopping = new AbortController()
    Object.assign(place.context, {
      env: { ...process.env, LOG: join(place.room, 'log') },
      signal: stopping.signal,
      progress: ({ phase }: { phase: string }) => {
        if (phase.endsWith('backup')) stopping.abort(new Error('SIGTERM'))
      },
    })
    await expect(backUpAll(place)).rejects.toMatchObject({ code: 'interrupted' })
    expect(place.lines()).toEqual(['before up', 'after up interrupted', 'and more'])
  })
})

describe('a run that was killed between its hooks', () => {
  it('is told by the next one, which runs the hook after first', async () => {
    const place = hooked()
    mkdirSync(join(place.context.stateDirectory, 'hooks'), { recursive: true })
    const killed = { pid: 2 ** 22 - 1, started: 'never', at: '2025-11-30T03:00:00.000Z', service: null }
    writeFileSync(record(place), JSON.stringify(killed))
    const { backups } = await backUpAll(place)
    const message = expect.stringContaining(
      'the run that began at 2025-11-30T03:00:00.000Z was killed between its hooks',
    )
    expect(backups[0]?.concerns).toMatchObject([{ code: 'hook_interrupted', message }])
    expect(place.warnings).toEqual([message])
    expect(place.lines()).toEqual(['after up killed', 'before up', `after up done ${backups[0]?.id}`])
    expect((await backUpAll(place)).backups[0]?.concerns).toBeUndefined()
  })
})

describe('a run that is killed while it finishes what another one was killed at', () => {
  it('leaves that to the next one', async () => {
    const place = hooked({ after: '[ ! -e "$KILLED" ] || cp "$KILLED" "$KILLED.seen"' })
    Object.assign(place.context, { env: { ...process.env, KILLED: record(place) } })
    mkdirSync(join(place.context.stateDirectory, 'hooks'), { recursive: true })
    const killed = { pid: 2 ** 22 - 1, started: 'never', at: '2025-11-30T03:00:00.000Z', service: 'sshd.service' }
    writeFileSync(record(place), JSON.stringify(killed))
    const progress = ({ phase }: { phase: string }) => {
      if (phase !== 'up: hook before') return
      // Once its hook after has been run.
      const seen = JSON.parse(readFileSync(`${record(place)}.seen`, 'utf8'))
      expect(seen).toMatchObject({ pid: process.pid, at: killed.at, service: killed.service })
    }
    Object.assign(place.context, { progress })
    const { backups } = await backUpAll(place)
    expect(backups[0]?.concerns).toMatchObject([
      {
        message: expect.stringContaining('"sshd.service", which it had stopped, is not the source\'s service any more'),
      },
    ])
    expect(existsSync(record(place))).toBe(false)
  })
})

describe('hooks that another user could have written', () => {
  const script = (path: string, text = '#!/bin/sh\nexit 0\n', mode = 0o755) => {
    writeFileSync(path, text)
    chmodSync(path, mode)
    return path
  }
  const cases: [string, (room: string) => Partial<HookSettings> & { command: string[] }, string][] = [
    ['nothing', room => ({ command: [join(room, 'none')] }), 'there is no'],
    ['a directory', room => ({ command: [room] }), 'is no regular file'],
    ['a program for nobody', room => ({ command: [script(join(room, 'h'), '', 0o644)] }), 'is not executable'],
    [
      'a program that the group writes',
      room => ({ command: [script(join(room, 'h'), '', 0o775)] }),
      'can be written by others',
    ],
    [
      'a program that all write',
      room => ({ command: [script(join(room, 'h'), '', 0o757)] }),
      'can be written by others',
    ],
    [
      'a directory that all write',
      room => {
        mkdirSync(join(room, 'open/inner'), { recursive: true })
        chmodSync(join(room, 'open'), 0o777)
        return { command: [script(join(room, 'open/inner/h'))] }
      },
      'others can replace it',
    ],
    [
      'what a link leads to',
      room => {
        script(join(room, 'h'), '', 0o757)
        symlinkSync(join(room, 'h'), join(room, 'link'))
        return { command: [join(room, 'link')] }
      },
      'can be written by others',
    ],
    [
      'the interpreter of a script',
      room => ({ command: [script(join(room, 'h'), `#! ${script(join(room, 'i'), '', 0o757)} -e\n`)] }),
      'can be written by others',
    ],
    [
      'a script for a shell',
      room => ({ command: ['/bin/sh', '-e', script(join(room, 'h'), '', 0o646)] }),
      'can be written by others',
    ],
    [
      'a script behind another program',
      room => ({ command: ['/usr/bin/timeout', '9', script(join(room, 'h'), '', 0o757)] }),
      'can be written by others',
    ],
    [
      'a script for a shell behind another program',
      room => ({
        command: ['/usr/bin/env', 'A=1', '/usr/bin/timeout', '9', '/bin/sh', script(join(room, 'h'), '', 0o757)],
      }),
      'can be written by others',
    ],
    [
      'the interpreter of a script behind another program',
      room => {
        const own = script(join(room, 'h'), `#!${script(join(room, 'i'), '', 0o757)}\n`)
        return { command: ['/usr/bin/timeout', '9', own] }
      },
      'can be written by others',
    ],
    [
      'what lies above a link',
      room => {
        mkdirSync(join(room, 'there/inner'), { recursive: true })
        symlinkSync(join(room, 'there/inner'), join(room, 'link'))
        script(join(room, 'h'))
        script(join(room, 'there/h'), '', 0o757)
        return { command: [`${room}/link/../h`] }
      },
      'leads through ..',
    ],
    [
      'a link that others can replace',
      room => {
        mkdirSync(join(room, 'open'))
        chmodSync(join(room, 'open'), 0o777)
        symlinkSync(script(join(room, 'h')), join(room, 'open/link'))
        return { command: [join(room, 'open/link')] }
      },
      'others can replace it',
    ],
    [
      'the configuration',
      room => ({ command: ['/bin/true'], file: script(join(room, 'config.yaml'), '', 0o664) }),
      'can be written by others',
    ],
    ...(isRoot
      ? ([
          [
            'a program of another user',
            room => {
              chownSync(script(join(room, 'h')), 1234, 0)
              return { command: [join(room, 'h')] }
            },
            'belongs to user 1234',
          ],
          [
            'a link of ours in a directory of another user',
            room => {
              mkdirSync(join(room, 'home'))
              mkdirSync(join(room, 'programs'))
              script(join(room, 'programs/h'))
              symlinkSync(join(room, 'programs'), join(room, 'home/programs'))
              chownSync(join(room, 'home'), 1234, 0)
              return { command: [join(room, 'home/programs/h')] }
            },
            'others can replace it',
          ],
          [
            'a directory of another user',
            room => {
              mkdirSync(join(room, 'home'))
              script(join(room, 'home/h'))
              chownSync(join(room, 'home'), 1234, 0)
              return { command: [join(room, 'home/h')] }
            },
            'others can replace it',
          ],
        ] as [string, (room: string) => Partial<HookSettings> & { command: string[] }, string][])
      : []),
  ]

  it.each(cases)('are refused: %s', async (_, make, message) => {
    const place = hooked()
    const ran = join(place.room, 'ran')
    const { command, file = null } = make(place.room)
    for (const at of ['before', 'after'] as const) {
      const other = { command: ['/usr/bin/touch', ran], timeout: 1000 }
      place.source.hooks = { before: other, after: other, file, [at]: { command, timeout: 1000 } }
      const { failures } = await backUpAll(place)
      expect(failures).toMatchObject([
        { kind: 'refused', code: 'hook_untrusted', message: expect.stringContaining(message) },
      ])
      expect(existsSync(ran)).toBe(false)
    }
  })
})

describe('a service that is stopped for a cold copy', () => {
  /** A systemctl of our own that knows whether the service runs. */
  function service(place: ReturnType<typeof hooked>, broken = 'nothing') {
    const programs = join(place.room, 'programs')
    const running = join(place.room, 'running')
    mkdirSync(programs)
    const script = [
      '#!/bin/sh',
      `[ "$1" = is-active ] && { [ -e '${running}' ] && echo active || { echo inactive; exit 3; }; exit 0; }`,
      `echo "$*" >> '${join(place.room, 'log')}'`,
      `[ "$1" = ${broken} ] && { echo "Job for $3 failed." >&2; exit 1; }`,
      `[ "$1" = stop ] && rm -f '${running}' || : > '${running}'`,
    ]
    writeFileSync(join(programs, 'systemctl'), `${script.join('\n')}\n`)
    chmodSync(join(programs, 'systemctl'), 0o755)
    const { PATH } = process.env
    process.env.PATH = `${programs}:${PATH}`
    onTestFinished(() => {
      process.env.PATH = PATH
    })
    writeFileSync(running, '')
    Object.assign(place.source, { service: 'app.service', stopService: true })
    return { running }
  }

  it('is down between the hooks alone, and is not started when it did not run', async () => {
    const place = hooked()
    const { running } = service(place)
    const { id } = await place.backUp()
    const around = ['before up', 'stop -- app.service', 'start -- app.service']
    expect(place.lines()).toEqual([...around, `after up done ${id}`])
    rmSync(running)
    const second = await place.backUp()
    expect(place.lines().slice(4)).toEqual(['before up', `after up done ${second.id}`])
    expect(existsSync(running)).toBe(false)
  })

  it('is started again when the backup fails', async () => {
    const place = hooked({ before: 'rm -r "$GONE"' })
    const { running } = service(place)
    Object.assign(place.context, { env: { ...process.env, GONE: place.uploads } })
    expect((await backUpAll(place)).failures).toMatchObject([{ code: 'source_missing' }])
    expect(existsSync(running)).toBe(true)
  })

  it('that cannot be stopped fails the backup; one that does not start again does not', async () => {
    const one = hooked()
    service(one, 'stop')
    expect((await backUpAll(one)).failures).toMatchObject([
      { code: 'service_failed', message: expect.stringContaining('could not stop') },
    ])
    const other = hooked()
    service(other, 'start')
    const { backups } = await backUpAll(other)
    expect(backups[0]?.concerns).toMatchObject([
      { code: 'service_failed', message: expect.stringContaining('could not start') },
    ])
  })

  it('is started by the next run when this one is killed, if it is still the configured one', async () => {
    for (const [unit, starts] of [
      ['app.service', true],
      ['sshd.service', false],
    ] as const) {
      const place = hooked()
      const { running } = service(place)
      rmSync(running)
      mkdirSync(join(place.context.stateDirectory, 'hooks'), { recursive: true })
      const killed = { pid: 2 ** 22 - 1, started: 'never', at: '2025-11-30T03:00:00.000Z', service: unit }
      writeFileSync(record(place), JSON.stringify(killed))
      await backUpAll(place)
      expect(place.lines()[0]).toBe(starts ? 'start -- app.service' : 'after up killed')
      expect(place.lines().join()).not.toContain('sshd')
    }
  })
})
