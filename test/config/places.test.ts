import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'
import { load, minimal, refusal } from './loading.js'

describe('the place of a configuration', () => {
  it('is the directory of the user when the machine has none', () => {
    const directory = temporaryDirectory()
    mkdirSync(join(directory, 'nexus-backup'))
    writeFileSync(join(directory, 'nexus-backup', 'config.yaml'), minimal, { mode: 0o600 })
    const { settings } = load(undefined, { xdgConfigHome: directory })
    expect(settings.file).toBe(join(directory, 'nexus-backup', 'config.yaml'))
  })

  it('must exist when it is named', () => {
    expect(refusal(undefined, { config: '/nowhere/c.yaml' })).toMatchObject({
      kind: 'configuration',
      code: 'configuration_unreadable',
    })
    expect(refusal(undefined, { config: '/' }).message).toContain('it is a directory')
  })

  it('is nowhere: then the message names where it was looked for', () => {
    const error = refusal(undefined, { xdgConfigHome: '/nowhere' })
    expect(error).toMatchObject({ kind: 'configuration', code: 'configuration_missing' })
    expect(error.message).toContain('/nowhere/nexus-backup/config.yaml')
  })

  it('of the state is of the machine for root', () => {
    expect(load(minimal, { uid: 0 }).settings.stateDirectory).toBe('/var/lib/nexus-backup')
    expect(load(minimal, { uid: 5, xdgStateHome: '/x' }).settings.stateDirectory).toBe('/x/nexus-backup')
    expect(load(minimal, { uid: 5, home: '/h', xdgStateHome: 'relative' }).settings.stateDirectory).toBe(
      '/h/.local/state/nexus-backup',
    )
    expect(load(minimal, { state: 'here', cwd: '/w' }).settings.stateDirectory).toBe('/w/here')
  })
})

describe('flags', () => {
  it('stand for a configuration', () => {
    const { settings } = load(undefined, { sqlite: 'data/itsm_nexus.db', repo: 'backups', cwd: '/w' })
    const repository = { name: 'repo', path: '/w/backups' }
    expect(settings).toMatchObject({ file: null, repositories: [repository] })
    expect(settings.sources).toMatchObject([{ name: 'itsm_nexus', path: '/w/data/itsm_nexus.db', repository }])
  })

  it('take the place of the configured repository', () => {
    const { settings } = load(minimal, { repo: '/other' })
    expect(settings.repositories).toEqual([{ name: 'repo', path: '/other' }])
    expect(settings.sources[0]?.repository.path).toBe('/other')
    expect(load(minimal, { repo: '/var/backups/nexus' }).settings.repositories[0]?.name).toBe('local')
  })

  it('use a configuration that is named, and none that is not', () => {
    const { settings } = load(`timezone: Asia/Tokyo\n${minimal}`, { sqlite: '/d/x.db', name: 'y' })
    expect(settings).toMatchObject({ timezone: 'Asia/Tokyo', sources: [{ name: 'y', repository: { name: 'local' } }] })
    const directory = temporaryDirectory()
    mkdirSync(join(directory, 'nexus-backup'))
    writeFileSync(join(directory, 'nexus-backup', 'config.yaml'), 'broken: [')
    expect(load(undefined, { xdgConfigHome: directory, sqlite: '/d/x.db', repo: '/r' }).settings.file).toBeNull()
  })

  it.each([
    [{ sqlite: '/x.db' }, 'repository_missing'],
    [{ sqlite: '/My Data.db', repo: '/r' }, 'invalid_source_name'],
    [{ name: 'x', repo: '/r' }, 'name_without_sqlite'],
    [{ repo: 'sftp://host/prefix' }, 'repository_unsupported'],
  ])('%j are refused as %s', (request, code) => {
    expect(refusal(undefined, request)).toMatchObject({ kind: 'usage', code })
  })
})
