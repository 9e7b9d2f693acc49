import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { writerHost } from '../../src/operations/writer-host.js'
import type { LockOptions, WriterHost } from '../../src/repository/storage/locks.js'
import { testContext } from './context.js'

/** A host that writes, with this state directory; one for the whole test file where none is named. */
export function writerOn(stateDirectory?: string, takeOver = false): WriterHost {
  return writerHost(testContext({ stateDirectory: stateDirectory ?? sharedState, takeOver }))
}

const sharedState = join(tmpdir(), `nexus-backup-test-state-${process.pid}`)
afterAll(() => rmSync(sharedState, { recursive: true, force: true }))

/** A request for a lock that does not wait, of `create itsm` on db1. */
export function lockRequest(change: Partial<LockOptions> = {}): LockOptions {
  return {
    waitSeconds: 0,
    purpose: 'create itsm',
    host: 'db1',
    user: 'root',
    signal: new AbortController().signal,
    onWait: () => undefined,
    writer: writerOn(),
    ...change,
  }
}
