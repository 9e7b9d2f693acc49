import { execaSync } from 'execa'
import { expect, it } from 'vitest'
import { LogFilter, logsWithin } from '../../../src/sources/postgres/server-logs.js'
import { tarHeader } from '../../../src/sources/postgres/tar-header.js'
import { paddingOf } from '../../../src/sources/postgres/tar-scan.js'

it.each([
  ['log', 'log'],
  ['pg_log', 'pg_log'],
  ['pg_stat', null],
  ['./logs/today/', 'logs/today'],
  ['/srv/data/log', 'log'],
  ['/var/log/postgresql', null],
  ['../log', null],
  ['..', null],
  ['.', null],
  ['', null],
  ['/srv/data', null],
  ['base', null],
  ['base/1', null],
  ['global', null],
  ['pg_wal', null],
  ['pg_wal/log', null],
  ['baselog', 'baselog'],
  ['..log', '..log'],
])('log_directory %j in /srv/data is %j', (setting, expected) => {
  expect(logsWithin('/srv/data', setting)).toBe(expected)
})

function member(name: string, type: '0' | '5', content = ''): Buffer {
  const bytes = Buffer.from(content)
  const header = tarHeader({ name, type, mode: 0o600, uid: 1, gid: 1, mtime: 0, size: bytes.length })
  return Buffer.concat([header, bytes, Buffer.alloc(paddingOf(bytes.length))])
}

it.each([1, 7, 511, 512, 513, 1000, 100_000])('files of logs go, whatever the pieces: %i bytes', size => {
  const kept = [
    member('PG_VERSION', '0', '15\n'),
    member('log', '5'),
    member('log/old', '5'),
    member('logger', '0', 'x'.repeat(600)),
    member('base/log', '0', 'no log'),
  ]
  const [version, log, old, logger, base] = kept as [Buffer, Buffer, Buffer, Buffer, Buffer]
  const dropped = member('log/a.log', '0', 'y'.repeat(1300))
  const archive = Buffer.concat([
    version,
    log,
    dropped,
    old,
    member('log/old/b', '0', ''),
    logger,
    member('log/c.csv', '0', 'z'),
    base,
    Buffer.alloc(1024),
  ])
  const filter = new LogFilter('log')
  const out: Buffer[] = []
  for (let at = 0; at < archive.length; at += size) out.push(...filter.push(archive.subarray(at, at + size)))
  const written = Buffer.concat([...out, filter.end()])
  expect(written.equals(Buffer.concat([...kept, Buffer.alloc(1024)]))).toBe(true)
  expect(filter.leftOut).toBe(3)
  const { stdout } = execaSync('tar', ['-t'], { input: written })
  expect(stdout.split('\n')).toEqual(['PG_VERSION', 'log/', 'log/old/', 'logger', 'base/log'])
})
