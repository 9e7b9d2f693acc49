import { lstatSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { linkTablespaces, tablespaceMap } from '../../../src/sources/postgres/tablespace-links.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

describe('the tablespaces of a restored cluster', () => {
  it('are linked, and in the map from which the server links them again', async () => {
    const directory = temporaryDirectory()
    mkdirSync(join(directory, 'pg_tblspc'))
    await linkTablespaces(directory, [{ oid: 16390, path: '/srv/fast disk' }], null)
    expect(readlinkSync(join(directory, 'pg_tblspc/16390'))).toBe('/srv/fast disk')
    expect(readFileSync(join(directory, 'tablespace_map'), 'utf8')).toBe('16390 /srv/fast disk\n')
    expect(lstatSync(join(directory, 'tablespace_map')).mode & 0o777).toBe(0o600)
  })

  it('leave a captured map alone when there are none', async () => {
    const directory = temporaryDirectory()
    await linkTablespaces(directory, [], null)
    expect(() => lstatSync(join(directory, 'tablespace_map'))).toThrow('ENOENT')
  })

  it('have line ends and backslashes escaped in the map', () => {
    expect(tablespaceMap([{ oid: 1, path: '/a\\b\nc' }])).toBe('1 /a\\\\b\\\nc\n')
  })
})
