import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { vulnerableClient } from '../../../src/sources/postgres/client-versions.js'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** Programs that tell their version and can do nothing else. */
function install(directory: string, version: string, programs = ['psql', 'pg_basebackup']): void {
  mkdirSync(directory, { recursive: true })
  for (const name of programs) script(join(directory, name), `echo '${name} (PostgreSQL) ${version} (Debian)'`)
}

function script(path: string, body: string): void {
  writeFileSync(path, `#!/bin/sh\n${body}\n`)
  chmodSync(path, 0o755)
}

function machine() {
  const directory = temporaryDirectory()
  const debian = (major: number) => join(directory, 'lib', String(major), 'bin')
  const roots = [
    { parent: join(directory, 'lib'), prefix: '' },
    { parent: join(directory, 'usr'), prefix: 'pgsql-' },
  ]
  const search = { binDirectory: null, path: '', roots }
  return { directory, debian, search }
}

const client = { exact: false, programs: ['psql', 'pg_basebackup'] }

describe('PostgreSQL’s programs', () => {
  it('are those of the server’s version, else the next newer, and the newest when it is not known', async () => {
    const { directory, debian, search } = machine()
    for (const [major, version] of [
      [13, '13.23'],
      [15, '15.18'],
      [17, '17.10'],
    ] as const)
      install(debian(major), version)
    install(join(directory, 'usr/pgsql-16/bin'), '16.14')
    const found = async (major: number | null) => (await findPrograms(search, { ...client, major })).version
    expect(await found(15)).toBe('15.18')
    expect(await found(14)).toBe('15.18')
    expect(await found(16)).toBe('16.14')
    expect(await found(null)).toBe('17.10')
  })

  it('of a newer version will not do where exactly one is needed', async () => {
    const { debian, search } = machine()
    install(debian(17), '17.10')
    const wanted = { major: 16, exact: true, programs: ['psql'] }
    await expect(findPrograms(search, wanted)).rejects.toMatchObject({ code: 'programs_missing' })
  })

  it('are not taken from a directory that lacks one of them', async () => {
    const { debian, search } = machine()
    install(debian(15), '15.18', ['psql'])
    install(debian(16), '16.14')
    expect((await findPrograms(search, { ...client, major: 15 })).major).toBe(16)
  })

  it('are found through pg_config and along PATH, passing over Debian’s wrapper', async () => {
    const { directory, search } = machine()
    const built = join(directory, 'opt/bin')
    install(built, '18.4')
    const path = join(directory, 'path')
    mkdirSync(path)
    script(join(path, 'pg_wrapper'), 'exit 1')
    for (const name of client.programs) symlinkSync('pg_wrapper', join(path, name))
    await expect(findPrograms({ ...search, path }, { ...client, major: 18 })).rejects.toMatchObject({
      code: 'programs_missing',
    })
    script(join(path, 'pg_config'), `echo ${built}`)
    expect(await findPrograms({ ...search, path }, { ...client, major: 18 })).toEqual({
      directory: built,
      major: 18,
      version: '18.4',
    })
    expect(
      (await findPrograms({ ...search, path: `${dirname(built)}:${built}` }, { ...client, major: 18 })).major,
    ).toBe(18)
  })

  it('of a configured directory are taken from there only, and must fit the server', async () => {
    const { debian, search } = machine()
    install(debian(15), '15.18')
    install(debian(16), '16.14')
    const configured = { ...search, binDirectory: debian(16) }
    expect((await findPrograms(configured, { ...client, major: 15 })).version).toBe('16.14')
    await expect(findPrograms(configured, { ...client, major: 17 })).rejects.toMatchObject({
      kind: 'configuration',
      code: 'programs_version',
    })
    const empty = { ...search, binDirectory: temporaryDirectory() }
    await expect(findPrograms(empty, { ...client, major: 15 })).rejects.toMatchObject({ code: 'programs_missing' })
  })

  it('that are missing are named with the package that holds them', async () => {
    const { search } = machine()
    await expect(findPrograms(search, { ...client, major: 15 })).rejects.toMatchObject({
      message: expect.stringContaining('psql, pg_basebackup of PostgreSQL 15 or newer'),
      hint: expect.stringContaining('apt-get install postgresql-client-15'),
    })
    const server = { major: 15, exact: true, programs: ['pg_ctl', 'psql'] }
    await expect(findPrograms(search, server)).rejects.toMatchObject({
      hint: expect.stringMatching(/apt-get install postgresql-15 .* dnf install postgresql15-server/),
    })
  })
})

describe('client programs with known holes', () => {
  it.each(['15.17', '14.22', '16.13', '17.9', '18.3', '15.2'])('%s is warned about', version => {
    expect(vulnerableClient(version, '/bin')).toContain(`update them to ${version.split('.')[0]}.`)
  })

  it.each(['15.18', '14.23', '16.14', '17.10', '18.4', '18.5', '19.0', '19beta1', '16devel'])('%s is not', version => {
    expect(vulnerableClient(version, '/bin')).toBeNull()
  })

  it('a version out of support says so', () => {
    expect(vulnerableClient('13.23', '/bin')).toContain('out of support')
  })
})
