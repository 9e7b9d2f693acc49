import { describe, expect, it } from 'vitest'
import { parseControlData, readControlData } from '../../../src/sources/postgres/control-data.js'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import { startCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

describe('the control file', () => {
  it('tells system, checksums and the sizes that recovery needs', async () => {
    const cluster = await startCluster({
      initdb: ['--data-checksums'],
      settings: { max_connections: '37', max_prepared_transactions: '5' },
    })
    const search = { binDirectory: cluster.bin, path: undefined }
    const programs = await findPrograms(search, { major: null, exact: false, programs: ['pg_controldata'] })
    const control = await readControlData(programs, cluster.directory)
    expect(control).toMatchObject({ state: 'in production', dataChecksums: true })
    expect(control.settings).toMatchObject({ max_connections: '37', max_prepared_transactions: '5' })
    expect(control.systemIdentifier).toBe(await cluster.psql('SELECT system_identifier FROM pg_control_system()'))
    const elsewhere = temporaryDirectory()
    await expect(readControlData(programs, elsewhere)).rejects.toMatchObject({ code: 'control_unreadable' })
  })

  it('is not read from anything else', () => {
    expect(parseControlData('hello: world\n')).toBeNull()
    expect(parseControlData('')).toBeNull()
  })
})
