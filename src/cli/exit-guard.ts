/**
 * Makes every end of the process a failure until the returned function is called: Node can drain its event loop in
 * mid-stream, a promise still open, and would end with 0 as if all were well (anchors/general.md 0.1).
 * @param failure the status of such an end
 */
export function armExitGuard(failure: number): () => void {
  process.exitCode = failure
  const complain = (code: number) => {
    // Somebody meant it: a second signal ends the process with a status of its own.
    if (code > 128) return
    process.stderr.write('nexus-backup: error: the run ended before its work was done; this is a defect\n')
    process.exitCode = failure
  }
  const disarm = () => {
    process.removeListener('exit', complain)
  }
  process.once('exit', complain)
  // Node prints such an error itself and ends with 1.
  process.once('uncaughtExceptionMonitor', disarm)
  return disarm
}
