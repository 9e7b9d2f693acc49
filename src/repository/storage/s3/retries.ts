import type { S3ClientConfig } from '@aws-sdk/client-s3'

type Strategy = Extract<NonNullable<S3ClientConfig['retryStrategy']>, { acquireInitialRetryToken: unknown }>
type Token = Awaited<ReturnType<Strategy['acquireInitialRetryToken']>>

/** Attempts before the server has ever answered: who mistyped an endpoint wants to know it soon. */
const ATTEMPTS_UNTIL_REACHED = 4
/** Afterwards a backup of hours is worth riding out a minute's trouble. */
const ATTEMPTS = 10
const LONGEST_MS = 20_000
const BASE_MS = 100
/** A server that asks to slow down is left alone for longer. */
const THROTTLED_BASE_MS = 500

/**
 * Retries with exponential backoff and full jitter, as AWS recommends for its SDKs
 * (docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html); the SDK's own classification decides what can
 * be tried again, this one only how often and when.
 */
export function retryStrategy(): Strategy {
  let reached = false
  return {
    acquireInitialRetryToken: async () => token(0, 0),
    async refreshRetryTokenForRetry(former, { error, errorType, retryAfterHint }) {
      const count = former.getRetryCount() + 1
      if (errorType === 'CLIENT_ERROR' || isHopeless(error)) throw error ?? new Error('the request failed')
      if (count >= (reached ? ATTEMPTS : ATTEMPTS_UNTIL_REACHED)) throw error ?? new Error('the request failed')
      const base = errorType === 'THROTTLING' ? THROTTLED_BASE_MS : BASE_MS
      const jittered = Math.random() * Math.min(LONGEST_MS, base * 2 ** count)
      const asked = retryAfterHint === undefined ? 0 : retryAfterHint.getTime() - Date.now()
      return token(count, Math.min(LONGEST_MS, Math.max(jittered, asked)))
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

function token(count: number, delay: number): Token {
  return { getRetryCount: () => count, getRetryDelay: () => delay }
}
