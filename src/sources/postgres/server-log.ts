/** Connections that came too early, and users that were tried: no sign of anything wrong. */
const harmless =
  /the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting connections)|role "[^"]*" does not exist|terminating connection due to administrator command/

/**
 * Why a server ended, from its log: its last fatal message with detail and hint, and what our own restore_command said
 * before it; null when the log tells nothing.
 */
export function causeOfDeath(log: string): string | null {
  const lines = log.split('\n')
  const at = lines.findLastIndex(line => /\b(?:FATAL|PANIC): {2}/.test(line) && !harmless.test(line))
  // We give it no such file, and it says that it could not write one; then it goes on.
  const starting = lines.findLast(
    line => /^postgres: |^\S*postgres: (?:error|fatal)/i.test(line) && !line.includes('external PID file'),
  )
  const [fatal] = at < 0 ? [starting] : [lines[at]]
  if (fatal === undefined) return null
  const pid = /\[(\d+)\]/.exec(fatal)?.[1]
  const more = at < 0 ? [] : lines.slice(at + 1).filter(line => pid !== undefined && line.includes(`[${pid}] `))
  const details = more.filter(line => /\b(?:DETAIL|HINT): {2}/.test(line))
  const own = lines.findLast(line => line.startsWith('nexus-backup: '))
  const mistakes = /contains errors$/.test(fatal) ? lines.slice(0, at).filter(isMistake) : []
  const told = /restore_command|from archive/.test(fatal) && own !== undefined ? [own] : []
  return [...mistakes, fatal, ...details, ...told].map(bare).join('; ').slice(0, 1000)
}

/** What is wrong in a configuration file, which the fatal message does not say. */
function isMistake(line: string): boolean {
  return /\bLOG: {2}(?:invalid value|syntax error|unrecognized configuration parameter|parameter "|could not open|"?\w+"? must)/.test(
    line,
  )
}

/** Without time, process and the width of the level. */
function bare(line: string): string {
  return line
    .replace(/^\d.*?\b(?:FATAL|PANIC|DETAIL|HINT|LOG): {2}/, '')
    .replace(/\p{C}+/gu, ' ')
    .trim()
}
