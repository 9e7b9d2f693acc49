import { describe, expect, it } from 'vitest'
import { serverSettings } from '../../../src/sources/postgres/server-settings.js'

const purpose = { directory: '/d', room: '/r', captured: {}, pauses: false, major: 15 }

describe('the settings of a server on a copy', () => {
  it('reach nobody: no port, no archive, no primary, no replication', () => {
    const settings = Object.fromEntries(serverSettings(purpose))
    expect(settings).toMatchObject({
      listen_addresses: '',
      unix_socket_directories: '/r',
      archive_mode: 'off',
      archive_command: '',
      archive_library: '',
      primary_conninfo: '',
      synchronous_standby_names: '',
      max_logical_replication_workers: '0',
    })
    expect(Object.fromEntries(serverSettings({ ...purpose, major: 14 }))).not.toHaveProperty('archive_library')
  })

  it('are as large as the captured ones, with the libraries that do nothing by themselves', () => {
    const captured = {
      max_connections: '300',
      dynamic_library_path: '/opt/lib:$libdir',
      shared_preload_libraries: 'pg_stat_statements, "pg_cron",$libdir/repmgr.so',
    }
    const settings = Object.fromEntries(serverSettings({ ...purpose, captured }))
    expect(settings).toMatchObject({
      max_connections: '300',
      dynamic_library_path: '/opt/lib:$libdir',
      shared_preload_libraries: 'pg_stat_statements',
    })
    expect(settings).not.toHaveProperty('max_worker_processes')
  })

  it('let readers in before the end of recovery only where it stands still', () => {
    expect(Object.fromEntries(serverSettings(purpose)).hot_standby).toBe('off')
    expect(Object.fromEntries(serverSettings({ ...purpose, pauses: true })).hot_standby).toBe('on')
  })
})
