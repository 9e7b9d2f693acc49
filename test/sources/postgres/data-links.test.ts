import { describe, expect, it } from 'vitest'
import { assertWhole, lacksOf, lostFrom } from '../../../src/sources/postgres/data-links.js'

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
