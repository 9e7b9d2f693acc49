/** Paths that lie inside an earlier or later one of a list, or stand in it twice; `at` is the position of the inner one. */
export function nestedPaths(paths: readonly string[]): { at: number; inner: string; outer: string }[] {
  return paths.flatMap((inner, at) => {
    const outer = paths.find((candidate, other) =>
      candidate === inner ? other < at : inner.startsWith(candidate === '/' ? '/' : `${candidate}/`),
    )
    return outer === undefined ? [] : [{ at, inner, outer }]
  })
}
