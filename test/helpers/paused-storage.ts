import type { Storage } from '../../src/repository/storage/storage.js'

type Method = 'list' | 'readSmall' | 'openRead'

/**
 * A storage that lets something else happen at an exact place: after each answer to a listing or a read, before whoever
 * asked has it.
 */
export function pausedStorage(storage: Storage, after: (method: Method, name: string) => Promise<void>): Storage {
  return new Proxy(storage, {
    get(target, property) {
      const value = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      if (property !== 'list' && property !== 'readSmall' && property !== 'openRead') return value.bind(target)
      return async (name: string, ...rest: unknown[]) => {
        const outcome = await Promise.allSettled([value.call(target, name, ...rest)])
        await after(property, name)
        if (outcome[0].status === 'rejected') throw outcome[0].reason
        return outcome[0].value
      }
    },
  })
}

/** Does something the first time only. */
export function once(work: () => Promise<unknown>): () => Promise<void> {
  let isDone = false
  return async () => {
    if (isDone) return
    isDone = true
    await work()
  }
}
