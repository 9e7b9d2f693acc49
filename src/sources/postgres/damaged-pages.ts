import { NexusError } from '../../errors.js'
import { withDatabase } from './connection.js'
import { type PostgresSession, queryJson } from './psql.js'

/** Of a file that the server names: `base/DATABASE/FILENODE`, `global/FILENODE`, a tablespace's, with fork and segment. */
const file = /"[^"]*?(?:(\d+)|global)\/(\d+)(?:_[a-z]+)?(?:\.(\d+))?"(?:.*?\bblock (\d+))?/
/** Blocks of 8 KiB in a segment of a relation (PostgreSQL RELSEG_SIZE, its default). */
const SEGMENT_BLOCKS = 131_072

interface Place {
  line: string
  /** OID; null for what all databases share. */
  database: string | null
  filenode: string
  segment: number
  block: number | null
}

/**
 * What the server said of damaged pages, with the relations that they belong to, as far as it can still tell.
 *
 * @param lines each with a file, and perhaps a block in it
 */
export async function namedRelations(session: PostgresSession, lines: readonly string[]): Promise<string[]> {
  const places = lines.flatMap(placeIn)
  const names = new Map<string, string>()
  for (const database of new Set(places.map(place => place.database))) {
    const filenodes = places.filter(place => place.database === database).map(({ filenode }) => filenode)
    for (const [filenode, name] of await relationsOf(session, database, filenodes)) {
      names.set(`${database} ${filenode}`, name)
    }
  }
  return lines.map(line => {
    const place = places.find(one => one.line === line)
    const name = place && names.get(`${place.database} ${place.filenode}`)
    if (place === undefined || name === undefined) return line
    const isLater = place.segment > 0 && place.block !== null
    const block = isLater ? `block ${place.segment * SEGMENT_BLOCKS + (place.block ?? 0)} of ` : ''
    return `${line}: ${block}${name}`
  })
}

function placeIn(line: string): Place[] {
  const [, database = null, filenode, segment = '0', block] = file.exec(line) ?? []
  if (filenode === undefined) return []
  return [{ line, database, filenode, segment: Number(segment), block: block === undefined ? null : Number(block) }]
}

/** Empty where the damage, or a lack of rights, keeps the server from telling. */
async function relationsOf(
  session: PostgresSession,
  database: string | null,
  filenodes: readonly string[],
): Promise<Map<string, string>> {
  try {
    const name =
      database === null
        ? null
        : await queryJson(session, `SELECT to_json(datname) FROM pg_database WHERE oid = ${database}`)
    const own = typeof name === 'string' ? { ...session, connection: withDatabase(session.connection, name) } : session
    const found = (await queryJson(own, relationsQuery(filenodes))) as Record<string, string>
    const where = typeof name === 'string' ? ` of the database ${name}` : ', which all databases share'
    return new Map(Object.entries(found).map(([filenode, relation]) => [filenode, `${relation}${where}`]))
  } catch (error) {
    session.signal.throwIfAborted()
    if (error instanceof NexusError) return new Map()
    throw error
  }
}

const kinds = `CASE c.relkind WHEN 'i' THEN 'index' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END`

function relationsQuery(filenodes: readonly string[]): string {
  return `SELECT coalesce(json_object_agg(pg_relation_filenode(c.oid), coalesce(
    (SELECT 'TOAST table of ' || o.oid::regclass FROM pg_class o WHERE o.reltoastrelid = c.oid),
    ${kinds} || ' ' || format('%I.%I', n.nspname, c.relname))), '{}')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE pg_relation_filenode(c.oid) IN (${filenodes.join(', ')})`
}
