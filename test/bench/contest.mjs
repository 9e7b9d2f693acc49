// Contestants of one row, run in turns so that a slow minute of the machine hits all alike.
import { bytesBelow, measured, median, settle, unmeasured } from './measure.mjs'

/**
 * @typedef {object} Contestant
 * @property {string} name
 * @property {string} run            bash, measured
 * @property {string} [prepare]      bash, not measured, before every run
 * @property {string} [missing]      the program it would need; then it is only reported
 * @property {string[]} [stored]     paths whose growth is what it stored
 * @property {boolean} [ours]
 */

/**
 * @param {Contestant[]} contestants
 * @param {{ runs: number, env: Record<string, string>, scratch: string, warm: string[], say(text: string): void }} settings
 */
export function contest(contestants, { runs, env, scratch, warm, say }) {
  const samples = new Map(contestants.map(({ name }) => [name, []]))
  for (let run = 1; run <= runs; run += 1) {
    for (const contestant of contestants) {
      if (contestant.missing !== undefined) continue
      say(`${contestant.name}, run ${run} of ${runs}`)
      if (contestant.prepare !== undefined) unmeasured(contestant.prepare, env)
      const before = storedBytes(contestant)
      settle(...warm)
      const result = measured(contestant.run, { env, scratch })
      samples.get(contestant.name).push({ ...result, bytes: storedBytes(contestant) - before })
    }
  }
  return contestants.map(contestant => summary(contestant, samples.get(contestant.name)))
}

function storedBytes({ stored }) {
  return (stored ?? []).reduce((sum, path) => sum + bytesBelow(path), 0)
}

function summary({ name, missing, stored, ours }, samples) {
  if (missing !== undefined) return { name, missing }
  const [{ peakMb, stdout }] = samples
  return {
    name,
    ours: ours ?? false,
    seconds: median(samples.map(sample => sample.seconds)),
    all_seconds: samples.map(sample => sample.seconds),
    bytes: stored === undefined ? null : median(samples.map(sample => sample.bytes)),
    peak_mb: peakMb === null ? null : Math.max(...samples.map(sample => sample.peakMb)),
    stdout,
  }
}
