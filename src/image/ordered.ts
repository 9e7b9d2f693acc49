/**
 * Runs `work` on up to `width` items at once and yields the results in the order of the items.
 * No more than `width` results wait at a time, so memory is bounded by width times one result.
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  width: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, void> {
  const running: Promise<R>[] = []
  try {
    for await (const item of items) {
      const result = work(item)
      // A failure is met when its turn comes; until then it must not count as unhandled.
      result.catch(() => {})
      running.push(result)
      const head = running.length >= width ? running.shift() : undefined
      if (head !== undefined) yield await head
    }
    for (let head = running.shift(); head !== undefined; head = running.shift()) yield await head
  } finally {
    await Promise.allSettled(running)
  }
}

/** Gathers items into lists of `size`; the last one may be shorter. */
export async function* inBatches<T>(
  items: AsyncIterable<T> | Iterable<T>,
  size: number,
): AsyncGenerator<T[], void, void> {
  let batch: T[] = []
  for await (const item of items) {
    batch.push(item)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
