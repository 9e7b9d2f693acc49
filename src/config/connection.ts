/**
 * Parameters of libpq whose value is a secret (PostgreSQL documentation, "Parameter Key Words"). The configuration is
 * read by more people than a password file, and the connection is handed to programs whose arguments everybody sees.
 */
const secrets = new Set(['password', 'sslpassword', 'oauth_client_secret', 'scram_client_key', 'scram_server_key'])

const malformed = 'is not a connection string of libpq; write one such as "host=/var/run/postgresql port=5432"'

/**
 * Why a connection string cannot be used, or undefined when it can. Its value never stands in the answer, for it may
 * hold a password.
 */
export function connectionProblem(text: string): string | undefined {
  if (text.includes('\0')) return malformed
  const keywords = /^postgres(?:ql)?:\/\//.test(text) ? uriKeywords(text) : keywordsOf(text)
  if (keywords === undefined) return malformed
  const secret = keywords.find(keyword => secrets.has(keyword))
  if (secret === undefined) return undefined
  return `must not hold a ${secret}: secrets stand in a file, ~/.pgpass or one named by passfile=FILE or service=NAME`
}

/**
 * The keywords of `keyword = value` pairs, as libpq's conninfo_parse reads them: blanks after `=` belong to no value, and
 * nothing need stand after a closing quote. Undefined for what it would refuse.
 */
function keywordsOf(text: string): string[] | undefined {
  const pair = /\s*([^\s=]+)\s*=\s*(?:'(?:[^'\\]|\\[\s\S])*'|(?:[^\s'\\]|\\[\s\S])(?:[^\s\\]|\\[\s\S])*|$)/y
  const keywords: string[] = []
  while (text.slice(pair.lastIndex).trim() !== '') {
    const match = pair.exec(text)
    if (match === null) return undefined
    keywords.push((match[1] ?? '').toLowerCase())
  }
  return keywords
}

/** The keywords that a `postgresql://` URI sets, as libpq's conninfo_uri_parse finds them; undefined when malformed. */
function uriKeywords(text: string): string[] | undefined {
  const [, user, rest = ''] = /^[a-z]+:\/\/(?:([^@/]*)@)?([\s\S]*)$/.exec(text) ?? []
  const query = rest.includes('?') ? rest.slice(rest.indexOf('?') + 1) : ''
  const names = query === '' ? [] : query.split('&').map(parameter => decoded(parameter.split('=')[0] ?? ''))
  if (names.includes(undefined)) return undefined
  const password = /:./s.test(user ?? '') ? ['password'] : []
  return [...password, ...names.map(name => (name ?? '').toLowerCase())]
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
