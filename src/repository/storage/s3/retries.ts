import type { S3ClientConfig } from '@aws-sdk/client-s3'

type Strategy = Extract<NonNullable<S3ClientConfig['retryStrategy']>, { acquireInitialRetryToken: unknown }>
type Token = Awaited<ReturnType<Strategy['acquireInitialRetryToken']>>

/** How often and how soon a request is tried again. */
export interface RetryTiming {
  /** Attempts before the server has ever answered: who mistyped an endpoint wants to know it soon. */
  attemptsUntilReached: number
  /** Attempts afterwards: a backup of hours is worth riding out a minute's trouble. */
  attempts: number
  /** Milliseconds that double with every attempt, at most up to `longest`. */
  base: number
  longest: number
  /**
   * Milliseconds after which a request is not tried again. With the time limit of the last attempt it must stay below a
   * lease: what was allowed under one must have happened before it can have ended.
   */
  total: number
}

export const retryTiming: RetryTiming = {
  attemptsUntilReached: 4,
  attempts: 10,
  base: 100,
  longest: 20_000,
  total: 150_000,
}

/** A server that asks to slow down is left alone for so many times longer. */
const THROTTLED = 5

/**
 * Retries with exponential backoff and full jitter, as AWS recommends for its SDKs
 * (docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html); the SDK's own classification decides what can
 * be tried again, this one only how often and when.
 */
export function retryStrategy(timing: RetryTiming, isStopping: () => boolean): Strategy {
  let reached = false
  return {
    acquireInitialRetryToken: async () => token(0, 0, performance.now()),
    async refreshRetryTokenForRetry(former, { error, errorType, retryAfterHint }) {
      const count = former.getRetryCount() + 1
      if (errorType === 'CLIENT_ERROR' || isHopeless(error)) throw error ?? new Error('the request failed')
      const { attempts, attemptsUntilReached, longest, total } = timing
      const began = beginnings.get(former) ?? performance.now()
      if (performance.now() - began > total) throw error ?? new Error('the request failed')
      // Who was told to stop cleans up where that is possible, and does not wait for a server that is away.
      if (count >= (reached && !isStopping() ? attempts : attemptsUntilReached))
        throw error ?? new Error('the request failed')
      const base = timing.base * (errorType === 'THROTTLING' ? THROTTLED : 1)
      const jittered = Math.random() * Math.min(longest, base * 2 ** count)
      const asked = retryAfterHint === undefined ? 0 : retryAfterHint.getTime() - Date.now()
      return token(count, Math.min(longest, Math.max(jittered, asked)), began)
    },
    recordSuccess() {
      reached = true
    },
  }
}

/** A server that has not this feature answers 501, which no second attempt changes. */
function isHopeless(error: { $metadata?: { httpStatusCode?: number | undefined } } | undefined): boolean {
  return error?.$metadata?.httpStatusCode === 501
}

/** When the first attempt of a token's request was made. */
const beginnings = new WeakMap<Token, number>()

function token(count: number, delay: number, began: number): Token {
  const made = { getRetryCount: () => count, getRetryDelay: () => delay }
  beginnings.set(made, began)
  return made
}
