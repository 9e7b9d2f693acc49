import { closest, distance } from 'fastest-levenshtein'

/** The known word that was probably meant, or undefined when none is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined
  const candidate = closest(word, [...known])
  const length = Math.max(word.length, candidate.length)
  // Two neighbouring letters changed over are a distance of 2.
  const tolerated = length < 4 ? 1 : Math.max(2, Math.floor(length / 2.5))
  return distance(word, candidate) <= tolerated ? candidate : undefined
}
