import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createKeyFile } from '../../src/keys/key-file.js'
import type { KeyTools, RecipientSettings } from '../../src/keys/recipient.js'
import { unwrapWith, wrapFor } from '../../src/keys/wrapping.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { gpgHome } from './gpg-home.js'

const tools: KeyTools = { env: process.env, signal: new AbortController().signal, ask: undefined }
const epoch = '20251103T000000.000Z-00112233'

function keyFile(): RecipientSettings {
  const path = join(temporaryDirectory(), 'key')
  createKeyFile(path, new Date())
  return { kind: 'key-file', path }
}

function passphrase(text: string): RecipientSettings {
  const path = join(temporaryDirectory(), 'pass')
  writeFileSync(path, `${text}\n`, { mode: 0o600 })
  return { kind: 'passphrase', passphrase: { from: 'file', path } }
}

describe('a wrapped secret', () => {
  const secret = randomBytes(32)

  it('opens with the key file it was wrapped for, in its epoch, and with no other', async () => {
    const key = keyFile()
    const wrapped = await wrapFor(key, epoch, secret, tools)
    expect(await unwrapWith(key, epoch, wrapped, tools)).toEqual({ secret })
    expect(await unwrapWith(keyFile(), epoch, wrapped, tools)).toBeUndefined()
    expect(await unwrapWith(passphrase('something'), epoch, wrapped, tools)).toBeUndefined()
    expect(await unwrapWith(key, epoch.replace('3', '4'), wrapped, tools)).toHaveProperty('problem')
    wrapped.secret[3] = (wrapped.secret[3] ?? 0) ^ 1
    expect(await unwrapWith(key, epoch, wrapped, tools)).toHaveProperty('problem')
  })

  it('opens with its passphrase, and with no other', async () => {
    const right = passphrase('correct horse')
    const wrapped = await wrapFor(right, epoch, secret, tools)
    expect(await unwrapWith(right, epoch, wrapped, tools)).toEqual({ secret })
    expect(await unwrapWith(passphrase('correct house'), epoch, wrapped, tools)).toHaveProperty('problem')
    const greedy = { ...wrapped, parameters: { ...wrapped.parameters, log_n: 40 } }
    await expect(unwrapWith(right, epoch, greedy, tools)).rejects.toMatchObject({ code: 'recipient_damaged' })
  })

  it('is made with the public half of a GPG key, and opens with the private one only', async () => {
    const full = await gpgHome()
    const publicOnly = await full.publicOnly()
    const recipient = { kind: 'gpg', fingerprint: full.fingerprint } as const
    const here = (home: string) => ({ ...tools, env: { ...process.env, GNUPGHOME: home } })
    const wrapped = await wrapFor(recipient, epoch, secret, here(publicOnly))
    expect(await unwrapWith(recipient, epoch, wrapped, here(full.home))).toEqual({ secret })
    expect(await unwrapWith(recipient, epoch, wrapped, here(publicOnly))).toHaveProperty('problem')
    const other = { ...recipient, fingerprint: 'A'.repeat(40) }
    expect(await unwrapWith(other, epoch, wrapped, here(full.home))).toBeUndefined()
    await expect(wrapFor(other, epoch, secret, here(full.home))).rejects.toMatchObject({ code: 'gpg_failed' })
  })
})
