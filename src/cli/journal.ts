import type { Journal } from '../journal/types.js'

/** A journal that keeps nothing, for dry runs: what was only planned did not happen. */
export const noJournal: Journal = {
  begin: () => ({ end: () => {} }),
  read: () => ({ records: [], chain: { ok: true } }),
  head: () => null,
  close: () => {},
}
