import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readStateFile, writeStateFile } from '../../src/operations/state-file.js'
import { temporaryDirectory } from '../helpers/temporary.js'

test('a file in the state directory is replaced as a whole, 0600, and drafts of killed runs go an hour later', async () => {
  const state = temporaryDirectory()
  const directory = join(state, 'keys')
  expect(await readStateFile(join(directory, 'pin.json'))).toBeUndefined()
  await writeStateFile(state, ['keys'], 'pin.json', 'one')
  for (const name of ['pin.json.new-00000000', 'signing-key.new-ffffffff', 'other']) {
    writeFileSync(join(directory, name), 'half')
    const then = Date.now() / 1000 - 7200
    utimesSync(join(directory, name), then, then)
  }
  writeFileSync(join(directory, 'pin.json.new-11111111'), 'of a run that is at it')
  await writeStateFile(state, ['keys'], 'pin.json', 'two')
  expect(readdirSync(directory).sort()).toEqual(['other', 'pin.json', 'pin.json.new-11111111'])
  expect(readFileSync(join(directory, 'pin.json'), 'utf8')).toBe('two')
  expect(statSync(join(directory, 'pin.json')).mode & 0o777).toBe(0o600)
})
