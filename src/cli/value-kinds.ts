import { parseDuration } from '../config/duration.js'
import type { ValueKind } from './declaration/types.js'

/** Transactions and timelines are counted in 32 bits. */
const largest = 0xffff_ffff

/** Values that can be told right or wrong by themselves, with advice for those that are wrong. */
export const valueChecks: Partial<Record<ValueKind, { accepts(text: string): boolean; advice: string }>> = {
  count: { accepts: text => /^[1-9][0-9]{0,8}$/.test(text), advice: 'give a whole number from 1' },
  seconds: { accepts: text => /^[0-9]{1,9}$/.test(text), advice: 'give whole seconds' },
  duration: { accepts: text => parseDuration(text) !== undefined, advice: 'give one such as 12h, 30d or 8w' },
  lsn: {
    accepts: text => /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(text),
    advice: 'give one as pg_current_wal_lsn() writes it, such as 0/2000028',
  },
  xid: {
    accepts: text => /^[1-9][0-9]{0,9}$/.test(text) && Number(text) <= largest,
    advice:
      'give the number of a transaction, such as 48213, without the epoch that pg_current_xact_id() puts before it',
  },
  timeline: {
    accepts: text => /^(latest|current)$/.test(text) || (/^[1-9][0-9]{0,9}$/.test(text) && Number(text) <= largest),
    advice: 'give latest, current or the number of a timeline',
  },
  mapping: {
    accepts: text => /^\/[^=]*=\/[^=]*$/.test(text),
    advice: 'give two absolute directories: OLD=NEW',
  },
}
