import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'
import { withoutLinks } from '../helpers/without-links.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { inPlace } from './helpers/late.js'
import { place } from './helpers/place.js'

it('backs up and restores where the system refuses every hard link, in place, back, and beside', async () => {
  const at = place(temporaryDirectory(), { env: withoutLinks() })
  await makeDatabase(at.database)
  await at.ok('create', ['--init', '--verify'])
  await changeDatabase(at.database, 1)
  await at.ok('restore', inPlace)
  expect(stateOf(at.database)).toEqual(expectedState(0))
  await at.ok('restore', ['app', '--rollback', '--confirm', 'app'])
  expect(stateOf(at.database)).toEqual(expectedState(1))
  const beside = join(at.directory, 'beside.db')
  await at.ok('restore', ['app', '--to', beside])
  await changeDatabase(beside, 2)
  await at.ok('restore', ['app', '--to', beside, '--force'])
  expect(stateOf(beside)).toEqual(expectedState(0))
  const left = [dirname(at.database), at.repository].filter(path => existsSync(path)).flatMap(path => readdirSync(path))
  expect(left.filter(name => name.startsWith('.'))).toEqual([])
})
