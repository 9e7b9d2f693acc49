/** Threads of this process in the middle of a call into SQLite that nothing interrupts, such as a long integrity_check. */
let busy = 0

/** Counts a call until `call` settles. */
export async function whileBusy<T>(call: Promise<T>): Promise<T> {
  busy += 1
  try {
    return await call
  } finally {
    busy -= 1
  }
}

/** Whether Node would have to wait for such a call before it can exit. */
export function threadsAreBusy(): boolean {
  return busy > 0
}
