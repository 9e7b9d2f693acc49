import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { HookCommand } from '../../../src/config/settings.js'
import { create } from '../../../src/operations/create.js'
import { isRoot } from '../../sources/files/trees.js'
import { createRequest } from '../application.js'
import { type Directories, directories } from '../directories.js'

/** Whose supplementary groups a Debian package has given a key to. */
const USER = 'postgres'
const idOf = (...flags: string[]) => execFileSync('id', [...flags, USER], { encoding: 'utf8' }).trim()
const [uid, gid] = isRoot ? [Number(idOf('-u')), Number(idOf('-g'))] : [0, 0]

function hooked(script: string, hook: Partial<HookCommand> = {}): Directories {
  const place = directories()
  writeFileSync(join(place.uploads, 'x'), 'x')
  const before = { command: ['/bin/sh', '-c', script], timeout: 60_000, user: USER, ...hook }
  place.source.hooks = { before, after: null, file: null }
  return place
}

function backUp({ context, journal, source }: Directories) {
  const request = createRequest([source])
  return create(context, journal, request)
}

/** Makes this process another user's for those who ask. */
function pretend(user: number): void {
  const mock = vi.spyOn(process, 'geteuid').mockReturnValue(user)
  onTestFinished(() => mock.mockRestore())
}

describe.skipIf(!isRoot)('a hook of a user', () => {
  it('runs as that user, with the groups and the home of it and nothing of ours', async () => {
    const place = hooked('id; id -G; env; ls -l /proc/self/fd; grep -E "^Cap(Eff|Prm|Amb)" /proc/self/status; pwd')
    const env = {
      PATH: '/usr/bin:/bin',
      LANG: 'C.UTF-8',
      TOKEN: 'hidden',
      SUDO_USER: 'hidden',
      HOME: '/root',
      USER: 'root',
    }
    Object.assign(place.context, { env })
    const open = openSync('/etc/shadow', 'r')
    onTestFinished(() => closeSync(open))
    expect((await backUp(place)).failures).toEqual([])
    const said = place.warnings.map(line => line.replace(/^up: before: /, ''))
    expect(said[0]).toContain(`uid=${uid}(${USER}) gid=${gid}`)
    expect(said[1]?.split(' ').sort()).toEqual(idOf('-G').split(' ').sort())
    const home = execFileSync('getent', ['passwd', USER], { encoding: 'utf8' }).split(':')[5]
    expect(said).toEqual(
      expect.arrayContaining([`HOME=${home}`, `USER=${USER}`, `LOGNAME=${USER}`, 'LANG=C.UTF-8', '/']),
    )
    expect(said).toContain('NEXUS_BACKUP_SOURCE=up')
    expect(said.join('\n')).not.toMatch(/hidden|shadow|\/root|sqlite/)
    // Standard streams, and the directory that is listed; a further one is the null device.
    const descriptors = said.filter(text => /-> /.test(text)).map(text => text.replace(/^.*-> /, ''))
    expect(descriptors.filter(text => !/^(?:\/dev\/null|socket:.*|pipe:.*|\/proc\/\d+\/fd)$/.test(text))).toEqual([])
    expect(descriptors.filter(text => /^(?:socket|pipe):/.test(text))).toHaveLength(2)
    for (const line of said.filter(text => text.startsWith('Cap'))) expect(line).toMatch(/\t0+$/)
    expect(said.filter(text => text.startsWith('Cap'))).toHaveLength(3)
  })

  it('may be a program of that user, and of nobody else', async () => {
    const place = hooked('')
    const directory = join(place.room, 'app')
    mkdirSync(directory)
    const program = join(directory, 'freeze')
    writeFileSync(program, '#!/bin/sh\nid -un\n')
    chmodSync(program, 0o755)
    for (const path of [directory, program]) chownSync(path, uid, gid)
    // Who runs it has to reach it.
    chmodSync(place.room, 0o755)
    place.source.hooks = { before: { command: [program], timeout: 60_000, user: USER }, after: null, file: null }
    expect((await backUp(place)).failures).toEqual([])
    expect(place.warnings).toEqual([`up: before: ${USER}`])
    place.source.hooks = { before: { command: [program], timeout: 60_000 }, after: null, file: null }
    expect((await backUp(place)).failures).toMatchObject([{ code: 'hook_untrusted' }])
    place.source.hooks = { before: { command: [program], timeout: 60_000, user: 'nobody' }, after: null, file: null }
    expect((await backUp(place)).failures).toMatchObject([{ code: 'hook_untrusted' }])
    place.source.hooks = { before: { command: [program], timeout: 60_000, user: USER }, after: null, file: program }
    expect((await backUp(place)).failures).toMatchObject([{ code: 'hook_untrusted' }])
  })

  it.each([
    ['nobody-has-this-name', 0, /there is no user nobody-has-this-name/],
    [USER, uid + 1, /only root and postgres can run its hooks as postgres/],
  ])('is refused where it cannot be: %s', async (user, as, message) => {
    const place = hooked('echo on', { user })
    if (as !== 0) pretend(as)
    await expect(backUp(place)).resolves.toMatchObject({
      failures: [{ kind: 'refused', code: 'hook_user', message: expect.stringMatching(message) }],
    })
    expect(place.warnings).toEqual([])
  })

  it('tells how it is run by hand when it fails', async () => {
    const { failures } = await backUp(hooked('exit 3'))
    const hint = `try it by hand as the same user: runuser -u ${USER} -- env NEXUS_BACKUP_SOURCE=up /bin/sh -c 'exit 3'`
    expect(failures).toMatchObject([{ code: 'hook_failed', hint: expect.stringContaining(hint) }])
  })

  it('is ended by root when its time is over', async () => {
    const place = hooked('echo $$; exec sleep 1000', { timeout: 300 })
    expect((await backUp(place)).failures).toMatchObject([{ message: expect.stringContaining('took longer than') }])
    const pid = Number(place.warnings[0]?.split(' ').at(-1))
    expect(() => process.kill(pid, 0)).toThrow()
  })
})
