import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { runsHere } from '../../../src/sources/postgres/locality.js'
import type { ClusterProbe } from '../../../src/sources/postgres/probe.js'
import { commandAs, namedAccount, ownerAccount, readFileAs } from '../../../src/sources/postgres/run-as.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

describe('running a program as the owner of a directory', () => {
  it.skipIf(process.getuid?.() !== 0)('gives it his ids, all his groups and his home', async () => {
    const directory = join(temporaryDirectory(), 'data')
    mkdirSync(directory)
    const { stdout: uid } = await execa('id', ['-u', 'postgres'])
    const { stdout: gid } = await execa('id', ['-g', 'postgres'])
    chownSync(directory, Number(uid), Number(gid))
    const account = await ownerAccount(directory)
    expect(account).toMatchObject({ name: 'postgres', uid: Number(uid), gid: Number(gid) })
    const script = 'id -u; id -G; echo "$HOME $USER $GIVEN"'
    const { file, args, options } = commandAs(account, '/bin/sh', ['-c', script], { GIVEN: 'kept', HOME: '/root' })
    const { stdout } = await execa(file, args, options)
    const { stdout: groups } = await execa('id', ['-G', 'postgres'])
    expect(stdout).toBe(`${uid}\n${groups}\n${account?.home} postgres kept`)
  })

  it.skipIf(process.getuid?.() !== 0)('works for an owner that the system has no name for', async () => {
    const account = await namedAccount(54_321, 54_322)
    expect(account).toMatchObject({ name: '54321', group: '54322', listed: false })
    const { file, args, options } = commandAs(account, '/bin/sh', ['-c', 'id -u; id -G'], {})
    expect((await execa(file, args, options)).stdout).toBe('54321\n54322')
  })

  it('is running it as we are where the path is our own or not there', async () => {
    expect(await ownerAccount(temporaryDirectory())).toBeNull()
    expect(await ownerAccount('/nonexistent/data')).toBeNull()
    const { file, args, options } = commandAs(null, '/bin/sh', ['-c', 'id -u; echo "$GIVEN"'], {
      GIVEN: 'a',
      LEFT: undefined,
    })
    expect((await execa(file, args, options)).stdout).toBe(`${process.getuid?.()}\na`)
  })
})

describe('reading a file as somebody', () => {
  it.skipIf(process.getuid?.() !== 0)('shows what that user may read, and nothing that only root can', async () => {
    const directory = temporaryDirectory()
    const closed = join(directory, 'closed')
    const open = join(directory, 'open')
    writeFileSync(closed, 'a secret of root', { mode: 0o600 })
    writeFileSync(open, 'open\n\n', { mode: 0o644 })
    chmodSync(directory, 0o755)
    symlinkSync(closed, join(directory, 'link'))
    const account = await namedAccount(54_321, 54_322)
    expect((await readFileAs(account, open, 100)).toString()).toBe('open\n\n')
    await expect(readFileAs(account, join(directory, 'link'), 100)).rejects.toThrow('54321 cannot read it')
    expect((await readFileAs(null, join(directory, 'link'), 100)).toString()).toBe('a secret of root')
  })

  it('takes no more than it may have, and nothing but a file', async () => {
    const file = join(temporaryDirectory(), 'file')
    writeFileSync(file, 'four')
    await expect(readFileAs(null, file, 3)).rejects.toThrow('it has 4 bytes')
    await expect(readFileAs(null, '/dev/zero', 100)).rejects.toThrow('not a regular file')
    await expect(readFileAs(null, `${file}.gone`, 100)).rejects.toThrow('ENOENT')
  })
})

describe('a server', () => {
  const probe = (dataDirectory: string, more: Partial<ClusterProbe> = {}) =>
    ({ dataDirectory, throughSocket: false, startedAt: 1_700_000_000, ...more }) as ClusterProbe

  it('runs here when it is reached through a socket, or its start is noted in its data directory', () => {
    const directory = temporaryDirectory()
    expect(runsHere(probe(directory))).toBe(false)
    expect(runsHere(probe(directory, { throughSocket: true }))).toBe(true)
    writeFileSync(join(directory, 'postmaster.pid'), `4711\n${directory}\n1699999999\n5432\n`)
    expect(runsHere(probe(directory))).toBe(true)
    expect(runsHere(probe(directory, { startedAt: 1_700_000_100 }))).toBe(false)
  })
})
