import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  assertWhole,
  followedMembers,
  followLinks,
  lacksOf,
  lostFrom,
} from '../../../src/sources/postgres/data-links.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const skipping = (name: string) => `WARNING:  skipping special file "${name}"`

describe('what a server passes over in a base backup', () => {
  it.each([
    'base/16384',
    './base/16384',
    './base/5/2619',
    './global',
    './global/1262',
    './pg_xact/0000',
    './pg_multixact/offsets',
    './pg_commit_ts',
    './pg_twophase',
    './pg_logical/snapshots',
    './PG_VERSION',
    '/mnt/ssd/PG_15_202209061/5/16390',
  ])('is lost data: %s', name => {
    const { lost, said } = lacksOf([skipping(name)], new Set())
    expect([lost, said]).toEqual([[skipping(name)], []])
    expect(() => assertWhole(lost)).toThrowError(expect.objectContaining({ code: 'data_left_out', kind: 'refused' }))
  })

  it.each([
    'could not read symbolic link "pg_tblspc/16390": Permission denied',
    'symbolic link "pg_tblspc/16390" target is too long',
  ])('is a whole tablespace: %s', warning => {
    expect(lacksOf([`WARNING:  ${warning}`], new Set()).lost).toHaveLength(1)
  })

  it('is to be said: logs, configuration, and what is not PostgreSQL’s', () => {
    const warnings = ['./log', './postgresql.conf', './baseline', './mine'].map(skipping)
    expect(lacksOf(warnings, new Set())).toEqual({ lost: [], said: warnings })
  })

  it('is nothing: a socket, and what comes with the backup otherwise', () => {
    const warnings = ['./.s.PGSQL.5432', './server.key'].map(skipping)
    expect(lacksOf(warnings, new Set(['server.key']))).toEqual({ lost: [], said: [] })
  })

  it('is found in what earlier releases kept of it', () => {
    const warnings = ['the server warns: skipping special file "./base/16384"', 'the server warns: something else']
    expect(lostFrom({ kind: 'postgres', warnings })).toEqual(['skipping special file "./base/16384"'])
    expect(lostFrom({ kind: 'files', warnings })).toEqual([])
  })
})

describe('links in a data directory to what a server needs to start', () => {
  it('become files with what they lead to: keys, configuration, and directories of it', async () => {
    const [data, etc] = [temporaryDirectory(), temporaryDirectory()]
    mkdirSync(join(etc, 'conf.d'))
    const files = ['main.conf', 'hba.conf', 'server.key', 'conf.d/a.conf', 'conf.d/b.conf']
    for (const name of files) writeFileSync(join(etc, name), `content of ${name}`)
    symlinkSync(join(etc, 'main.conf'), join(data, 'postgresql.conf'))
    symlinkSync(join(etc, 'hba.conf'), join(data, 'pg_hba.conf'))
    symlinkSync(join(etc, 'server.key'), join(data, 'server.key'))
    symlinkSync(join(etc, 'conf.d'), join(data, 'conf.d'))
    writeFileSync(join(data, 'pg_ident.conf'), 'no link')
    symlinkSync(join(etc, 'gone.conf'), join(data, 'gone.conf'))
    const inside = ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf', 'conf.d/a.conf', 'conf.d/b.conf', 'gone.conf']
    const asked: [string, number][] = []
    const found = await followLinks(data, {
      settings: { ssl_key_file: 'server.key', ssl_cert_file: '' },
      configuration: [...inside.map(name => join(data, name)), join(etc, 'main.conf')],
      async read(path, most) {
        asked.push([path, most])
        return readFileSync(path)
      },
    })
    expect(found.directories).toEqual(['conf.d'])
    expect(found.files.map(({ name, content }) => [name, content.toString()])).toEqual([
      ['server.key', 'content of server.key'],
      ['postgresql.conf', 'content of main.conf'],
      ['pg_hba.conf', 'content of hba.conf'],
      ['conf.d/a.conf', 'content of conf.d/a.conf'],
      ['conf.d/b.conf', 'content of conf.d/b.conf'],
    ])
    expect(found.warnings).toEqual([expect.stringMatching(/^gone.conf is a link .* not in the backup: ENOENT/)])
    expect(asked).toHaveLength(6)
    const archive = Buffer.concat([...followedMembers(found, { uid: 101, gid: 104 })])
    const names = Array.from({ length: archive.length / 512 }, (_, at) => archive.subarray(at * 512, at * 512 + 512))
      .filter(block => block.toString('latin1', 257, 262) === 'ustar')
      .map(block => block.toString('latin1', 0, 100).replace(/\0+$/, ''))
    expect(names).toEqual(['conf.d/', ...found.files.map(({ name }) => name)])
  })
})
