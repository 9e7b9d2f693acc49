import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { rollBackTrees } from '../../../src/operations/trees/tree-rollback.js'
import { initRepository } from '../../../src/repository/open.js'
import { portrait } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

/** Directories with the repository and the state directory inside. */
function nested(): Directories {
  const place = directories()
  place.source.repository = { name: 'local', path: join(place.uploads, 'deep/backups') }
  Object.assign(place.context, { stateDirectory: join(place.logs, 'state') })
  mkdirSync(join(place.uploads, 'deep'))
  writeFileSync(join(place.uploads, 'x'), 'x')
  return place
}

async function restored(place: Directories) {
  const to = join(place.room, `to-${Math.random()}`)
  await restore(place.context, place.journal, place.restoring({ kind: 'path', path: to, force: false }))
  const names = (root: string) => Object.keys(portrait(join(to, root)).entries).sort()
  return { uploads: names(place.uploads), logs: names(place.logs) }
}

describe('directories of this program inside a source', () => {
  it('are left out, whoever the repository is configured for, and that is said', async () => {
    const place = nested()
    await place.backUp()
    const other = join(place.uploads, 'other')
    await initRepository(other, { now: new Date(0) })
    cpSync(other, join(place.logs, 'copied'), { recursive: true })
    symlinkSync(place.source.repository.path, join(place.uploads, 'link'))
    mkdirSync(join(place.uploads, 'app'))
    writeFileSync(join(place.uploads, 'app/nexus-backup.json'), '{"format":"of another program"}')
    const [first, second] = [await place.backUp({ type: 'full' }), await place.backUp({ type: 'full' })]
    expect(second.bytes_source).toBe(first.bytes_source)
    expect(second).toMatchObject({ incomplete: false })
    expect(second.warnings).toEqual([
      `left out: ${place.source.repository.path} is a backup repository`,
      `left out: ${other} is a backup repository`,
      `left out: ${join(place.logs, 'copied')} is a backup repository`,
      `left out: ${join(place.logs, 'state')} is the state directory`,
    ])
    expect(await restored(place)).toEqual({
      uploads: ['.', 'app', 'app/nexus-backup.json', 'deep', 'link', 'x'],
      logs: ['.'],
    })
  })

  it('are refused as roots, and so is what lies in them', async () => {
    const place = nested()
    await place.backUp()
    const { path } = place.source.repository
    for (const root of [path, join(path, 'up'), place.context.stateDirectory]) {
      place.source.paths = [root]
      const refused = place.backUp()
      await expect(refused).rejects.toThrow('source_is_own')
    }
  })

  it('are still there after a restore in place, and after it is undone', async () => {
    const place = nested()
    await place.backUp()
    writeFileSync(join(place.uploads, 'x'), 'changed')
    const { source } = place
    await restore(place.context, place.journal, place.restoring({ kind: 'in-place', source }))
    expect(readFileSync(join(place.uploads, 'x'), 'utf8')).toBe('x')
    expect((await place.backUp({ type: 'incr' })).type).toBe('incr')
    await rollBackTrees(place.context, { source, dryRun: false }, source.paths)
    expect(readFileSync(join(place.uploads, 'x'), 'utf8')).toBe('changed')
    expect((await place.backUp({ type: 'incr' })).type).toBe('incr')
  })

  it('keep a backup from being restored in place that has something in their stead', async () => {
    const place = directories()
    await place.backUp()
    const { source } = place
    await initRepository(join(place.uploads, 'new/backups'), { now: new Date(0) })
    const restoring = restore(place.context, place.journal, place.restoring({ kind: 'in-place', source }))
    await expect(restoring).rejects.toMatchObject({ kind: 'refused', code: 'own_directory_inside' })
    expect(readdirSync(join(place.uploads, 'new/backups'))).toContain('nexus-backup.json')
  })
})
