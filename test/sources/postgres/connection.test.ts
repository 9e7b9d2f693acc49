import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  connectionParameter,
  namedFiles,
  socketPaths,
  withParameter,
} from '../../../src/sources/postgres/connection.js'

describe('a parameter of a connection string', () => {
  it.each([
    ['host=/run/pg port=5433', '/run/pg', '5433'],
    ["host = '/run/my pg' user=o\\'neil port='5433'", '/run/my pg', '5433'],
    ['dbname=a host=first host=second', 'second', undefined],
    ['', undefined, undefined],
    ['postgresql://db.example.com:5433/crm?sslmode=require', 'db.example.com', '5433'],
    ['postgres://me@db.example.com/crm', 'db.example.com', undefined],
    ['postgresql:///crm?host=/run/pg&port=5433', '/run/pg', '5433'],
    ['postgresql://%2Frun%2Fpg/crm', '/run/pg', undefined],
    ['postgresql://[::1]:5433/crm', '[::1]', '5433'],
  ])('is found in %j', (connection, host, port) => {
    expect(connectionParameter(connection, 'host')).toBe(host)
    expect(connectionParameter(connection, 'port')).toBe(port)
  })

  it('is found whatever its value, when it is quoted as libpq wants it', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (before, value) => {
        const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`
        const connection = `user=${quoted(before)} host=${quoted(value)} port=1`
        expect(connectionParameter(connection, 'host')).toBe(value)
      }),
    )
  })

  it('is added to either form', () => {
    expect(withParameter('', 'replication', 'true')).toBe('replication=true')
    expect(withParameter('host=/run', 'replication', 'true')).toBe('host=/run replication=true')
    expect(withParameter('postgresql:///crm', 'replication', 'true')).toBe('postgresql:///crm?replication=true')
    expect(withParameter('postgresql:///crm?a=b', 'replication', 'true')).toBe('postgresql:///crm?a=b&replication=true')
  })
})

describe('the files that libpq reads for one user', () => {
  it.each([
    ['passfile=/a sslkey=/b sslcert=b.crt', {}, ['/a', '/b']],
    ['', { PGPASSFILE: '/a', PGSSLKEY: '/b', PGSSLROOTCERT: 'system' }, ['/a', '/b']],
    ['postgresql:///?passfile=/a', { PGPASSFILE: '/b', PGSERVICEFILE: '/c' }, ['/a', '/c']],
    ['', { PGSYSCONFDIR: '/etc/pg' }, ['/etc/pg/pg_service.conf']],
    ['', {}, []],
  ])('are named by %j and %j', (connection, env, files) => {
    expect(namedFiles(connection, env)).toEqual(files)
  })
})

describe('the socket of a connection', () => {
  it('lies in the directory that connection or environment names, else where libpq looks by default', () => {
    expect(socketPaths('host=/run/pg port=5433', {})).toEqual(['/run/pg/.s.PGSQL.5433'])
    expect(socketPaths('', { PGHOST: '/run/pg', PGPORT: '5434' })).toEqual(['/run/pg/.s.PGSQL.5434'])
    expect(socketPaths('', {})).toEqual(['/var/run/postgresql/.s.PGSQL.5432', '/tmp/.s.PGSQL.5432'])
  })

  it('is not looked for where the server is reached over the network or through a service file', () => {
    expect(socketPaths('host=db.example.com', {})).toEqual([])
    expect(socketPaths('host=localhost', { PGHOST: '/run/pg' })).toEqual([])
    expect(socketPaths('hostaddr=10.0.0.1', {})).toEqual([])
    expect(socketPaths('service=crm', {})).toEqual([])
    expect(socketPaths('', { PGSERVICE: 'crm' })).toEqual([])
  })
})
