import type { Context } from '../../context.js'

const said = new WeakMap<Context['warn'], Set<string>>()

/** Warns of something that a run meets several times, each time it looks again. */
export function warnOnce({ warn }: Pick<Context, 'warn'>, message: string): void {
  const messages = said.get(warn) ?? new Set()
  said.set(warn, messages)
  if (messages.has(message)) return
  messages.add(message)
  warn(message)
}
