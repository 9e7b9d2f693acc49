import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkout, isReachable } from './helpers/checkout.js'
import { stopSharedServer } from './helpers/s3-process.js'

/** Everything that one run of the tests needs around it. */
export default function setup(): () => void {
  // Each project of a run comes here; the first one does it for all.
  if (process.env.NEXUS_TEST_RUN !== undefined) return () => {}
  const run = mkdtempSync(join(tmpdir(), 'nexus-backup-run-'))
  // The server's user starts from here too.
  chmodSync(run, 0o755)
  process.env.NEXUS_TEST_RUN = run
  const hide = showCheckout()
  // Also where the run is broken off.
  process.once('exit', stopSharedServer)
  return () => {
    process.off('exit', stopSharedServer)
    stopSharedServer()
    rmSync(run, { recursive: true, force: true, maxRetries: 5 })
    hide()
  }
}

/**
 * Tests with a second user run programs of this working tree as that user. Where root's clone lies in a closed
 * directory, it is shown to everybody at another place for as long as the tests run.
 */
function showCheckout(): () => void {
  if (process.getuid?.() !== 0 || isReachable()) return () => {}
  const shared = mkdtempSync(join(tmpdir(), 'nexus-backup-checkout-'))
  chmodSync(shared, 0o755)
  execFileSync('mount', ['--bind', checkout, shared])
  process.env.NEXUS_BACKUP_TEST_CHECKOUT = shared
  return () => {
    execFileSync('umount', ['--lazy', shared])
    rmdirSync(shared)
  }
}
