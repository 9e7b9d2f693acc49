import { chmodSync } from 'node:fs'
import { execa } from 'execa'
import { onTestFinished } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'

/** A GPG home of its own with a key in it that needs no passphrase. */
export interface GpgHome {
  home: string
  fingerprint: string
  /** Another home that has only the public half. */
  publicOnly(): Promise<string>
}

export async function gpgHome(): Promise<GpgHome> {
  const home = emptyHome()
  const gpg = (args: string[], input?: string, where = home) =>
    execa('gpg', ['--homedir', where, '--batch', '--no-tty', '--pinentry-mode', 'loopback', ...args], {
      ...(input === undefined ? {} : { input }),
    })
  await gpg(['--passphrase', '', '--quick-generate-key', 'Backups <backups@example.org>', 'future-default', 'default'])
  const { stdout } = await gpg(['--with-colons', '--list-keys'])
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(stdout)?.[1] ?? ''
  return {
    home,
    fingerprint,
    async publicOnly() {
      const other = emptyHome()
      const { stdout: exported } = await gpg(['--armor', '--export'])
      await gpg(['--import'], exported, other)
      return other
    },
  }
}

function emptyHome(): string {
  const home = temporaryDirectory()
  chmodSync(home, 0o700)
  // The agent starts by itself and would outlive the test.
  onTestFinished(async () => {
    await execa('gpgconf', ['--homedir', home, '--kill', 'all'], { reject: false })
  })
  return home
}
