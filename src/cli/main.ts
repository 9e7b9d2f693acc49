import { armExitGuard } from './exit-guard.js'

/** The process around the command line: exit guard, signals, output that breaks. */
export function main(): void {
  const argv = process.argv.slice(2)
  const failure = failureOf(argv)
  const disarm = armExitGuard(failure)
  // Node's own status for an error that nobody caught would end a recovery early.
  if (failure !== 1) process.on('uncaughtException', error => endBadly(error, failure))
  const lost = watchOutput()
  run(argv).then(
    async status => {
      await drained()
      disarm()
      await endInterrupted(status)
      process.exit(status === 0 && lost() ? failure : status)
    },
    (error: unknown) => {
      disarm()
      endBadly(error, failure)
    },
  )
}

/**
 * The status of a run that ends before its command is known, or by a defect. It must be 126 where PostgreSQL may be the
 * caller: a restore_command below that ends recovery as if the WAL ended there. The declaration is not loaded for it.
 */
function failureOf(argv: readonly string[]): number {
  return argv.includes('pitr') && argv.includes('fetch') ? 126 : 1
}

function endBadly(error: unknown, status: number): void {
  process.stderr.write(`nexus-backup: error: ${error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(status)
}

async function run(argv: readonly string[]): Promise<number> {
  // Monitoring asks for the version often: it must cost no more than starting Node.
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    const { programVersion } = await import('./version.js')
    process.stdout.write(`${programVersion()}\n`)
    return 0
  }
  // The AWS SDK's hint about Node's version is none that an operator's crontab should mail.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  const [{ processIo }, { runCommandLine }] = await Promise.all([import('./process-io.js'), import('./run.js')])
  const { mayHaveRawBytes, rawWords } = await import('./raw-words.js')
  return await runCommandLine(mayHaveRawBytes(argv) ? rawWords(argv) : argv, processIo())
}

/** Ends a run that a signal stopped; returns for any other. */
async function endInterrupted(status: number): Promise<void> {
  if (status <= 128) return
  const [{ signalOfStatus }, { endBySignal }] = await Promise.all([
    import('./exit-codes.js'),
    import('./end-process.js'),
  ])
  const signal = signalOfStatus(status)
  if (signal !== undefined) endBySignal(signal)
}

/**
 * A reader who has read enough (`| head`) is no failure and no reason to stop a backup. A result that could not be
 * written otherwise, to a full disk for example, is one.
 */
function watchOutput(): () => boolean {
  let lost = false
  process.stderr.on('error', () => {})
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || lost) return
    lost = true
    process.stderr.write(`nexus-backup: error: the result could not be written: ${error.message}\n`)
  })
  return () => lost
}

/** Waits until what was written is handed to the kernel. */
async function drained(): Promise<void> {
  const empty = (stream: NodeJS.WriteStream) =>
    new Promise<void>(resolve => {
      if (stream.destroyed || stream.errored != null || stream.writableLength === 0) resolve()
      else stream.write('', () => resolve())
    })
  await Promise.all([empty(process.stdout), empty(process.stderr)])
  // An error of a stream is told after the write that it spoilt.
  await new Promise(resolve => setImmediate(resolve))
}
