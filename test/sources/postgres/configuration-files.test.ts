import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readConfigurationFiles } from '../../../src/sources/postgres/configuration-files.js'
import { recoverySettingsFile } from '../../../src/sources/postgres/recovery-settings.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

it('the configuration that a base backup does not hold is kept, and what cannot be read is told', async () => {
  const [data, etc] = [temporaryDirectory(), temporaryDirectory()]
  const [outside, closed, gone] = ['a.conf', 'closed.conf', 'gone.conf'].map(name => join(etc, name))
  const [inside, link] = ['b.conf', 'link.conf'].map(name => join(data, name))
  if (!outside || !closed || !gone || !inside || !link) throw new Error('five names')
  for (const path of [outside, closed, inside]) writeFileSync(path, path)
  symlinkSync(outside, link)
  // A server that has recovered names it until it is started again.
  const removed = join(data, recoverySettingsFile)
  const read = async (path: string) => {
    if (path === closed) throw new Error('postgres cannot read it')
    return readFileSync(path)
  }
  const paths = [outside, closed, gone, inside, link, removed]
  const { files, warnings } = await readConfigurationFiles(paths, data, read)
  expect(files).toEqual([outside, link].map(path => ({ path, text: outside })))
  expect(warnings).toEqual([
    `${closed} is not in the backup: postgres cannot read it`,
    expect.stringContaining(`${gone} is not in the backup: ENOENT`),
  ])
  const elsewhere = await readConfigurationFiles(paths, data, null)
  expect(elsewhere.files).toEqual([])
  expect(elsewhere.warnings).toHaveLength(3)
})
