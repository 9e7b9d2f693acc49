import { configurationPlaces } from '../../config/locate.js'
import { keyOf, linesOf, type WalCall } from '../../operations/wal/note.js'
import type { Invocation } from '../invocation.js'
import { switchOption, textOption } from '../parsed.js'

/**
 * What calls to come must have in common with this one to be answered ahead: command line, surroundings and
 * configuration, as it is before it is read. Null for calls that are not alike, and for those with an answer of their own.
 */
export function aheadOf(verb: 'archive' | 'fetch', { options, io, words, operands }: Invocation): WalCall | null {
  if (['dry-run', 'json', 'verbose'].some(name => switchOption(options, name))) return null
  const key = keyOf(verb, { words, operands }, { cwd: io.cwd, env: io.env })
  if (key === undefined) return null
  const asked = textOption(options, 'config')
  const places = configurationPlaces({
    cwd: io.cwd,
    uid: io.user.uid,
    home: io.user.home,
    xdgConfigHome: io.env.XDG_CONFIG_HOME,
    xdgStateHome: io.env.XDG_STATE_HOME,
  })
  return { key, files: linesOf(asked === undefined ? places : [asked]) }
}
