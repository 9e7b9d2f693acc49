/**
 * Makes every end of the process a failure until the returned function is called: Node can drain its event loop in
 * mid-stream, a promise still open, and would end with 0 as if all were well (anchors/general.md 0.1).
 */
export function armExitGuard(): () => void {
  process.exitCode = 1
  const complain = (code: number) => {
    // Somebody meant it: a second signal ends the process with a status of its own.
    if (code > 128) return
    process.stderr.write('nexus-backup: error: the run ended before its work was done; this is a defect\n')
    process.exitCode = 1
  }
  const disarm = () => {
    process.removeListener('exit', complain)
  }
  process.once('exit', complain)
  // Node prints such an error itself and ends with 1.
  process.once('uncaughtExceptionMonitor', disarm)
  return disarm
}
