import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { describeSettings } from '../../src/config/describe.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { load, minimal, refusal } from './loading.js'

describe('a configuration', () => {
  it('needs little; the rest has defaults', () => {
    const { settings, warnings } = load(minimal, { uid: 1000, home: '/home/u' })
    const repository = { name: 'local', path: '/var/backups/nexus' }
    expect(settings).toMatchObject({
      timezone: 'UTC',
      stateDirectory: '/home/u/.local/state/nexus-backup',
      repositories: [repository],
    })
    expect(settings.sources).toEqual([
      {
        kind: 'sqlite',
        name: 'itsm',
        path: '/opt/itsm/data/itsm_nexus.db',
        repository,
        copies: [],
        checks: [],
        service: null,
        keep: {},
        chain: { maxAge: 604_800_000, maxLength: 100, maxRatio: 0.5 },
        digestAlgorithm: 'xxh3-128',
      },
    ])
    expect(warnings.filter(warning => !warning.includes('owns it'))).toEqual([])
  })

  it('is understood with every key', () => {
    const { settings } = load(`
timezone: Asia/Tokyo
state: /srv/state/
repositories:
  local: { path: /var/backups/nexus/ }
  second: { path: /mnt/second }
sources:
  itsm:
    kind: sqlite
    path: /opt/itsm/../itsm/data/itsm_nexus.db
    repository: second
    checks: ["SELECT count(*) FROM incidents"]
    service: itsm-nexus.service
    keep: { last: 3, hourly: 24, daily: 30, weekly: 12, monthly: 36, yearly: 5, within: 2d }
    chain: { max_age: 3d, max_length: 10, max_ratio: 0.25 }
    digest: sha256-128
`)
    expect(settings).toMatchObject({ timezone: 'Asia/Tokyo', stateDirectory: '/srv/state' })
    expect(settings.sources[0]).toEqual({
      kind: 'sqlite',
      name: 'itsm',
      path: '/opt/itsm/data/itsm_nexus.db',
      repository: { name: 'second', path: '/mnt/second' },
      copies: [],
      checks: ['SELECT count(*) FROM incidents'],
      service: 'itsm-nexus.service',
      keep: { last: 3, hourly: 24, daily: 30, weekly: 12, monthly: 36, yearly: 5, within: 172_800_000 },
      chain: { maxAge: 259_200_000, maxLength: 10, maxRatio: 0.25 },
      digestAlgorithm: 'sha256-128',
    })
  })

  it('is reported with all its mistakes at once, each with its line', () => {
    const error = refusal(`timezone: Mars/Olympus
repositries: {}
repositories:
  local: { path: backups }
sources:
  itsm:
    kind: sqlite
    path: /x.db
    keep: { dayly: 30, weekly: 0 }
    chian: {}
`)
    expect([error.kind, error.code]).toEqual(['configuration', 'configuration_invalid'])
    expect(error.message.split('\n').slice(1)).toEqual([
      "  line 1: timezone: 'Mars/Olympus' is not a time zone; write one such as Asia/Tokyo or UTC",
      "  line 2: repositries: unknown key; did you mean 'repositories'?",
      '  line 4: repositories.local.path: must be an absolute path',
      '  line 9: sources.itsm.keep.weekly: must be a whole number from 1',
      "  line 9: sources.itsm.keep.dayly: unknown key; did you mean 'daily'?",
      "  line 10: sources.itsm.chian: unknown key; did you mean 'chain'?",
    ])
    expect(error.message).toMatch(/: 6 mistakes\n/)
  })

  it.each([
    ['kind: postgres-tables', 'kind postgres-tables is not in this version yet'],
    ['kind: sqllite, path: /x', "unknown kind 'sqllite'; did you mean 'sqlite'?"],
    ['path: /x', 'kind is missing'],
    ['kind: sqlite', 'path: is missing'],
    ['kind: sqlite, path: /x, keep: { pitr: 14d }', 'keep.pitr: only sources of kind postgres have a log to keep'],
    ['kind: sqlite, path: /x, connection: "host=a"', 'unknown key; known here: kind, path'],
    ['kind: sqlite, path: /x, keep: { within: 6m }', "'6m' is not a duration"],
    ['kind: sqlite, path: /x, repository: locl', "no repository 'locl'; did you mean 'local'?"],
    ['kind: sqlite, path: /x, checks: "SELECT 1"', 'checks:'],
    ['kind: sqlite, path: /x, service: "a; reboot"', 'systemd unit'],
    ['kind: sqlite, path: /x, service: --force', 'systemd unit'],
    ['kind: sqlite, path: /x, digest: md5', 'must be xxh3-128 or sha256-128'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: nothing expands it, that is the point
    ['kind: sqlite, path: "${HOME}/x"', 'must be an absolute path'],
    ['kind: sqlite, path: /x, keep: [daily]', 'keep: must be a mapping'],
    ['kind: sqlite, path: /x, chain: []', 'chain: must be a mapping'],
  ])('is refused for a source with { %s }', (source, message) => {
    const error = refusal(`repositories: { local: { path: /r } }\nsources:\n  a: { ${source} }\n`)
    expect(error.kind).toBe('configuration')
    expect(error.message).toContain(message)
    expect(error.message).toContain('line 3')
  })

  it.each([
    ['sources: { Big: { kind: sqlite, path: /x } }', "'Big' cannot be the name of a source"],
    ['sources: { wal: { kind: sqlite, path: /x } }', "'wal' cannot be the name of a source"],
    ['sources: { a: { kind: sqlite, path: /x } }', 'no repository is configured'],
    [
      'repositories: { a: { path: /a }, b: { path: /b } }\nsources: { s: { kind: sqlite, path: /x } }',
      'several repositories',
    ],
    ['a: [', 'not valid YAML'],
    ['timezone: UTC\ntimezone: UTC', 'not valid YAML'],
    ['- a', 'must be a mapping'],
    ['sources: 3', 'must be a mapping'],
    ['sources: [a]', 'must be a mapping'],
    ['sources: { a: [] }', 'must be a mapping'],
    ['sources: { a: 3 }', 'must be a mapping'],
    ['timezone: !!binary x', 'time zone'],
  ])('is refused when it says %j', (text, message) => {
    const error = refusal(`${text}\n`)
    expect([error.kind, error.message]).toEqual(['configuration', expect.stringContaining(message)])
  })

  it('does not follow aliases without end', () => {
    const levels = 'bcdefghij'.split('').map((name, at) => `${name}: &${name} [${`*${'abcdefghi'[at]},`.repeat(10)}]`)
    const error = refusal(`a: &a [x]\n${levels.join('\n')}\n`)
    expect(error.kind).toBe('configuration')
  })

  it('may be empty, for a run from flags alone', () => {
    expect(load('', { repo: '/r' }).settings).toMatchObject({ sources: [], repositories: [{ path: '/r' }] })
  })

  it('that others may change is warned about', () => {
    const directory = temporaryDirectory()
    const config = join(directory, 'c.yaml')
    writeFileSync(config, minimal)
    chmodSync(config, 0o666)
    const { warnings } = load(undefined, { config })
    expect(warnings.join()).toContain('can be changed by other users')
  })

  it('survives arbitrary text with a settings object or a configuration error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map(value => stringify(value)),
        ),
        text => {
          try {
            load(text, { repo: '/r' })
          } catch (error) {
            expect(error).toMatchObject({ name: 'NexusError', kind: 'configuration' })
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  it('means the same when the settings shown are read again', () => {
    const first = load(minimal.replace('data/itsm_nexus.db }', 'x.db, keep: { daily: 3, within: 36h } }'), {
      state: '/s',
    })
    const again = load(stringify(describeSettings(first.settings)))
    expect({ ...again.settings, file: null }).toEqual({ ...first.settings, file: null })
  })
})
