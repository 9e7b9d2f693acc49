import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeSettings } from '../../src/config/describe.js'
import { loadSettings } from '../../src/config/load.js'
import { checkFile } from '../../src/config/read-file.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const fingerprint = '0123456789ABCDEF0123456789ABCDEF01234567'
const arn = 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555'

function file(encryption: string): string {
  const path = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(path, `repositories: { r: { path: /r, encryption: ${encryption} } }\n`, { mode: 0o600 })
  return path
}

const problems = (encryption: string) =>
  checkFile(file(encryption), 0).problems.map(({ key, message }) => [key, message])

const nothing = { repo: undefined, state: undefined, sqlite: undefined, name: undefined }
const around = {
  cwd: '/desk',
  uid: 1000,
  home: '/home/tester',
  xdgConfigHome: undefined,
  xdgStateHome: undefined,
  systemTimezone: 'UTC',
  env: {},
  warn: () => {},
}

describe('encryption in a configuration', () => {
  it('names every kind of recipient, and is shown as it is written', () => {
    const path = file(
      `{ recipients: [{ key_file: /k }, { passphrase_file: /p }, { passphrase_command: [pass, show, x] }, { passphrase_credential: c }, { gpg: '${fingerprint}' }, { aws_kms: '${arn}' }], max_key_age: 30d }`,
    )
    const settings = loadSettings({
      ...nothing,
      ...around,
      config: path,
      keyFile: undefined,
      passphraseFile: undefined,
    })
    expect(settings.repositories[0]?.encryption).toEqual({
      recipients: [
        { kind: 'key-file', path: '/k' },
        { kind: 'passphrase', passphrase: { from: 'file', path: '/p' } },
        { kind: 'passphrase', passphrase: { from: 'command', command: ['pass', 'show', 'x'] } },
        { kind: 'passphrase', passphrase: { from: 'credential', name: 'c' } },
        { kind: 'gpg', fingerprint },
        { kind: 'aws-kms', key: arn },
      ],
      maxKeyAge: 30 * 86_400_000,
    })
    expect(settings.means).toEqual(settings.repositories[0]?.encryption?.recipients)
    expect(describeSettings(settings).repositories.r).toEqual({
      path: '/r',
      encryption: {
        recipients: [
          { key_file: '/k' },
          { passphrase_file: '/p' },
          { passphrase_command: ['pass', 'show', 'x'] },
          { passphrase_credential: 'c' },
          { gpg: fingerprint },
          { aws_kms: arn },
        ],
        max_key_age: '30d',
      },
    })
  })

  it('is told every mistake', () => {
    const at = 'repositories.r.encryption'
    expect(problems('{}')).toEqual([[`${at}.recipients`, 'is missing']])
    expect(problems('{ recipients: [] }')[0]?.[1]).toContain('must be a list')
    expect(problems('{ recipients: [{}] }')[0]?.[1]).toContain('must have one of: key_file')
    expect(problems('{ recipients: [{ key_file: /a, gpg: x }] }').length).toBeGreaterThan(0)
    expect(problems('{ recipients: [{ key_file: relative }] }')[0]?.[1]).toBe('must be an absolute path')
    expect(problems('{ recipients: [{ gpg: ABCD }] }')[0]?.[1]).toContain('whole fingerprint')
    expect(problems('{ recipients: [{ aws_kms: alias }] }')[0]?.[1]).toContain('ARN')
    expect(problems('{ recipients: [{ passphrase: hunter2 }] }')[0]?.[1]).toContain('unknown key')
    expect(problems('{ recipients: [{ keyfile: /k }] }')[0]?.[1]).toContain("did you mean 'key_file'")
    expect(JSON.stringify(problems('{ recipients: [{ passphrase: hunter2 }] }'))).not.toContain('hunter2')
  })

  it('comes of flags too, which open a configured repository and make others encrypted', () => {
    const flags = { ...nothing, ...around, keyFile: '/f', passphraseFile: '/p' }
    const plain = loadSettings({ ...flags, config: undefined, repo: '/other', sqlite: '/a.db' })
    expect(plain.repositories[0]?.encryption?.recipients).toHaveLength(2)
    expect(plain.sources[0]?.repository.encryption).toBe(plain.repositories[0]?.encryption)
    const configured = loadSettings({ ...flags, config: file(`{ recipients: [{ key_file: /k }] }`) })
    expect(configured.repositories[0]?.encryption?.recipients).toEqual([{ kind: 'key-file', path: '/k' }])
    expect(configured.means.map(({ kind }) => kind)).toEqual(['key-file', 'passphrase', 'key-file'])
  })
})
