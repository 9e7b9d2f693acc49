import type { Readable } from 'node:stream'

/** Where text goes. */
export interface TextSink {
  write(text: string): unknown
}

/** What the command line may know of the process it runs in; tests hand in their own. */
export interface CommandIo {
  stdout: TextSink & { isTTY?: boolean; columns?: number }
  stderr: TextSink & { isTTY?: boolean; columns?: number }
  /** Puts bytes on stdout as they are; resolves when more may come, and rejects when nobody takes them. */
  writeBytes(bytes: Uint8Array): Promise<void>
  stdin: Readable & { isTTY?: boolean }
  env: Readonly<Record<string, string | undefined>>
  cwd: string
  /** How this program is called: absolute paths of Node and of the script. */
  program: readonly string[]
  now(): Date
  host: string
  user: { name: string; uid: number; home: string }
  /** Aborted with an `interruption` by the signals that end the run. */
  signal: AbortSignal
  /** Calls back whenever somebody asks for a line of progress (SIGUSR1). Returns how to stop that. */
  onProgressRequest(callback: () => void): () => void
}
