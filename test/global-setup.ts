import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkout, isReachable } from './helpers/checkout.js'

/**
 * Tests with a second user run programs of this working tree as that user. Where root's clone lies in a closed
 * directory, it is shown to everybody at another place for as long as the tests run.
 */
export default function setup(): (() => void) | undefined {
  if (process.getuid?.() !== 0 || isReachable()) return undefined
  const shared = mkdtempSync(join(tmpdir(), 'nexus-backup-checkout-'))
  chmodSync(shared, 0o755)
  execFileSync('mount', ['--bind', checkout, shared])
  process.env.NEXUS_BACKUP_TEST_CHECKOUT = shared
  return () => {
    execFileSync('umount', ['--lazy', shared])
    rmdirSync(shared)
  }
}
