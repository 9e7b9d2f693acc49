import { resolve } from 'node:path'
import { createKeyFile } from '../../keys/key-file.js'
import { recoverDigest } from '../../operations/keys/recover-digest.js'
import type { Handler } from '../invocation.js'
import { switchOption } from '../parsed.js'

/** `keys create FILE` */
export const runKeysCreate: Handler = async ({ io, operands, options }) => {
  const path = resolve(io.cwd, operands[0] ?? '')
  const dryRun = switchOption(options, 'dry-run')
  const digest = await recoverDigest()
  const id = dryRun ? null : `key-${createKeyFile(path, io.now())}`
  return {
    document: { command: 'keys create', path, id, recover_sha256: digest, dry_run: dryRun },
    text: () =>
      id === null
        ? `would write ${path}\n`
        : `${path}: ${id}; keep a copy of it in a safe, and with it the SHA-256 of recover.mjs: ${digest}\n`,
    always: false,
    failures: [],
  }
}
