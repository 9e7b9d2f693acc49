import type { Context } from '../../src/context.js'
import { KeyAccess } from '../../src/repository/keys/key-access.js'

/** A context that hears nothing and never stops; the instant stands still. */
export function testContext(wishes: Partial<Context> = {}): Context {
  return {
    now: () => new Date('2025-12-01T00:00:00Z'),
    host: 'db1',
    operator: { user: 'root', sudo_user: null },
    signal: new AbortController().signal,
    warn: () => {},
    progress: () => {},
    journalFailed: () => {},
    toolVersion: '0.1.0',
    stateDirectory: '/nonexistent',
    timezone: 'UTC',
    env: process.env,
    keys: new KeyAccess([], { env: process.env, signal: new AbortController().signal, ask: undefined }),
    lockWaitSeconds: 0,
    ...wishes,
  }
}

/** The same, with a key file at hand where there is one. */
export function contextWith(keyFile: string | undefined, wishes: Partial<Context> = {}): Context {
  const context = testContext(wishes)
  const means = keyFile === undefined ? [] : [{ kind: 'key-file' as const, path: keyFile }]
  const { env, signal } = context
  return { ...context, keys: new KeyAccess(means, { env, signal, ask: undefined }) }
}
