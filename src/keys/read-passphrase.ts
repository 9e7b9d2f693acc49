import { join } from 'node:path'
import { messageOf, NexusError } from '../errors.js'
import { passphraseIn, passphraseOf } from './passphrase.js'
import type { KeyTools, PassphraseSource } from './recipient.js'
import { readSecretFile } from './secret-file.js'

/** A program that takes longer waits for somebody. */
const COMMAND_MS = 60_000

/**
 * The passphrase of a source.
 * @param isNew one that is only being chosen: on a terminal it is asked for twice
 * @throws NexusError configuration, refused for a file that others can read
 */
export async function readPassphrase(
  source: PassphraseSource,
  tools: KeyTools,
  { isNew }: { isNew: boolean } = { isNew: false },
): Promise<string> {
  switch (source.from) {
    case 'file':
      return passphraseIn(readSecretFile(source.path, 'passphrase file'), source.path)
    case 'credential':
      return readCredential(source.name, tools)
    case 'command':
      return runCommand(source.command, tools)
    case 'terminal':
      if (tools.ask !== undefined) return isNew ? chosen(tools.ask) : asked(tools.ask, 'Passphrase of the repository:')
      throw new NexusError('usage', 'passphrase_missing', 'there is no terminal to ask for the passphrase on', {
        hint: 'give --passphrase-file FILE',
      })
  }
}

type Ask = NonNullable<KeyTools['ask']>

async function asked(ask: Ask, question: string): Promise<string> {
  return passphraseOf(await ask(question), 'the answer')
}

async function chosen(ask: Ask): Promise<string> {
  const passphrase = await asked(ask, 'New passphrase:')
  if ((await asked(ask, 'The same again:')) === passphrase) return passphrase
  throw new NexusError('usage', 'passphrase_mistyped', 'the two passphrases differ', {
    hint: 'nothing was changed; run it again',
  })
}

/** systemd puts credentials into a directory of the service's own (systemd.exec(5), LoadCredential=). */
function readCredential(name: string, { env }: KeyTools): string {
  const directory = env.CREDENTIALS_DIRECTORY
  if (directory === undefined || directory === '') {
    throw new NexusError('configuration', 'credential_missing', `there is no systemd credential ${name} here`, {
      hint: `add LoadCredentialEncrypted=${name} to the unit, or give --passphrase-file FILE`,
    })
  }
  const path = join(directory, name)
  return passphraseIn(readSecretFile(path, 'credential'), `the credential ${name}`)
}

async function runCommand([program = '', ...args]: readonly string[], tools: KeyTools): Promise<string> {
  const { execa } = await import('execa')
  let stdout: Uint8Array
  try {
    const done = await execa(program, args, {
      env: tools.env as Record<string, string>,
      extendEnv: false,
      stdin: 'inherit',
      stderr: 'inherit',
      timeout: COMMAND_MS,
      maxBuffer: 65_536,
      stripFinalNewline: false,
      encoding: 'buffer',
      cancelSignal: tools.signal,
    })
    stdout = done.stdout
  } catch (error) {
    // Its output may be the passphrase: neither the message nor the cause may carry it.
    const { exitCode, code } = error as { exitCode?: number; code?: string }
    const why = exitCode === undefined ? (code ?? 'it did not end') : `it ended with ${exitCode}`
    throw new NexusError('configuration', 'passphrase_command_failed', `${program} gave no passphrase: ${why}`, {
      hint: 'run it by hand as the user who makes the backups',
    })
  }
  try {
    return passphraseIn(stdout, `what ${program} printed`)
  } catch (error) {
    throw new NexusError('configuration', 'passphrase_command_failed', messageOf(error))
  }
}
