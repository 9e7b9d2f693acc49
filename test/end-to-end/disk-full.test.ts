import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inBucket, isEncrypted } from '../helpers/repository-kind.js'
import { changeDatabase, crashAfterCommit, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { digestOf, expectListedSound } from './helpers/kills.js'
import { backupIds, leftoversBeside, leftoversIn, place, setAside } from './helpers/place.js'
import { canMount, fill, smallDisk } from './helpers/small-disk.js'

const MB = 1 << 20

// Skipped where the tests may not mount a small disk: that takes root, and not every container's root may.
describe.skipIf(!canMount)('a full disk', () => {
  // Whether a bucket is ever full is its provider's business.
  const onDisk = it.skipIf(inBucket)

  onDisk('under the repository fails a create that would not fit, names it, and the next one is fine', async () => {
    const at = place()
    smallDisk(at.repository, 8 * MB)
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    await changeDatabase(at.database, 1)
    const free = fill(at.repository, 64 * 1024)
    const { code, stderr } = await at.run('create')
    expect(code).toBe(1)
    expect(stderr).toContain(at.repository)
    expect(stderr).toMatch(/free|no space left/)
    expect(stderr).toContain('hint: ')
    await expectListedSound(at)
    free()
    await at.ok('create')
    expect(backupIds(at)).toHaveLength(2)
    expect(leftoversIn(at.repository)).toEqual([])
  })

  onDisk(
    'under the repository in the middle of a create leaves every earlier backup, and nothing half-made',
    async () => {
      const at = place()
      smallDisk(at.repository, 16 * MB)
      await makeDatabase(at.database, { rows: 40 })
      await at.ok('create', ['--init'])
      // What retention of a small full says is needed is far less than this one takes.
      rmSync(at.database)
      await makeDatabase(at.database, { rows: 30_000 })
      const free = fill(at.repository, 1.2 * MB)
      const { code, error } = await at.json('create', ['--type', 'full'])
      expect(code).toBe(1)
      expect(error.error.message).toContain(at.repository)
      expect(error.error.message).toContain('no space left')
      expect(leftoversIn(at.repository)).toEqual([])
      await expectListedSound(at)
      free()
      await at.ok('create')
      expect(backupIds(at)).toHaveLength(2)
    },
  )

  onDisk('does not keep prune from freeing it', async () => {
    const at = place()
    smallDisk(at.repository, 8 * MB)
    await makeDatabase(at.database)
    await at.ok('create', ['--init', '--type', 'full'])
    for (const type of ['full', 'full']) await at.ok('create', ['--type', type])
    const free = fill(at.repository, 0)
    const result = await at.run('prune', ['app', '--keep-last', '1'])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(backupIds(at)).toHaveLength(1)
    free()
    await at.ok('create')
    expect(leftoversIn(at.repository)).toEqual([])
    await expectListedSound(at)
  })

  onDisk('does not keep verify from telling the truth', async () => {
    const at = place()
    smallDisk(at.repository, 8 * MB)
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const free = fill(at.repository, 0)
    const { code, stderr } = await at.run('verify')
    // The backups are sound; that this cannot be written down is said.
    expect(code).not.toBe(4)
    if (code !== 0) expect(stderr).toContain(at.repository)
    free()
    await at.ok('verify')
  })

  // Beside a bucket there is no other disk for what a create needs while it works.
  it.runIf(inBucket)('under the state directory fails a create, which names it, and the next one is fine', async () => {
    const at = place()
    smallDisk(at.state, 4 * MB)
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const free = fill(at.state, 0)
    const { code, stderr } = await at.run('create', ['--type', 'full'])
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(`state directory ${at.state}`) })
    expect(stderr).toContain('hint: ')
    expect(leftoversIn(at.repository)).toEqual([])
    free()
    await at.ok('create')
    expect(backupIds(at)).toHaveLength(2)
  })

  onDisk('under the journal never loses a backup: it is made, and the missing record ends the run with 3', async () => {
    const at = place()
    smallDisk(at.state, 4 * MB)
    await makeDatabase(at.database)
    // An encrypted backup needs the key with which this host signs, which lies in the state directory too.
    if (isEncrypted) await at.ok('create', ['--init'])
    for (const journal of isEncrypted ? ['that is there'] : ['that is not there yet', 'that is there']) {
      const free = fill(at.state, 0)
      const before = backupIds(at).length
      const { code, stderr } = await at.run('create', ['--init'])
      expect({ journal, code, stderr }).toMatchObject({ journal, code: 3 })
      expect(stderr).toContain('the journal could not be written')
      expect(stderr).toContain(at.state)
      expect(backupIds(at)).toHaveLength(before + 1)
      free()
      await at.ok('create')
    }
    await expectListedSound(at)
    expect((await at.run('list', ['--journal'])).code).toBe(0)
  })

  it('under the target fails a restore beside the live data, and leaves nothing there', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const disk = smallDisk(join(at.directory, 'elsewhere'), 1 * MB)
    const free = fill(disk, 16 * 1024)
    const { code, stderr } = await at.run('restore', ['app', '--to', join(disk, 'restored.db')])
    expect(code).toBe(1)
    expect(stderr).toContain(disk)
    expect(leftoversBeside(join(disk, 'restored.db'))).toEqual(['.ballast'])
    free()
    await at.ok('restore', ['app', '--to', join(disk, 'restored.db')])
    expect(stateOf(join(disk, 'restored.db'))).toEqual(expectedState(0))
  })

  it('at any point of an in-place restore replaces nothing, or everything', async () => {
    const at = place()
    smallDisk(join(at.directory, 'live'), 4 * MB)
    await makeDatabase(at.database)
    await changeDatabase(at.database, 1)
    await at.ok('create', ['--init'])
    const outcomes = new Set<number | null>()
    // From no room for the staged file to room for all but the last of the old log, and for everything.
    for (const [index, leave] of [0, 40, 120, 140, 160, 180, 200, 260, 400].entries()) {
      await crashAfterCommit(at.database, index + 2)
      const free = fill(join(at.directory, 'live'), leave * 1024)
      const { code, stderr } = await at.run('restore', ['app', '--in-place', '--confirm', 'app'])
      outcomes.add(code)
      free()
      expect(stateOf(at.database)).toEqual(expectedState(code === 0 ? 1 : index + 2))
      if (code !== 0) {
        expect(stderr).toContain(join(at.directory, 'live'))
        expect(stderr).not.toContain('defect')
        expect(setAside(at.database)).toEqual([])
      }
      expect(leftoversBeside(at.database)).toEqual([])
      for (const name of setAside(at.database)) rmSync(name)
    }
    expect([...outcomes].sort()).toEqual([0, 1])
  })

  it('in the middle of replacing a database that cannot be opened leaves it and its log as they were', async () => {
    const at = place()
    const disk = smallDisk(join(at.directory, 'live'), 2 * MB)
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    writeFileSync(at.database, Buffer.alloc(MB, 'not a database '))
    writeFileSync(`${at.database}-wal`, 'its log')
    const before = digestOf(at.database)
    // Room for the staged file, not for the copy that is set aside.
    const free = fill(disk, 400 * 1024)
    const { code, stderr } = await at.run('restore', ['app', '--in-place', '--confirm', 'app'])
    expect(code).toBe(1)
    expect(stderr).toContain(disk)
    expect(stderr).not.toContain('defect')
    expect(digestOf(at.database)).toBe(before)
    expect(leftoversBeside(at.database)).toEqual(['.ballast'])
    expect(setAside(at.database)).toEqual([])
    free()
  })
})

describe('a journal that is no journal', () => {
  it('loses no backup either', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    writeFileSync(join(at.state, 'catalog.db'), 'this is not a database, whatever its name says')
    const { code, stderr } = await at.run('create')
    expect({ code, stderr }).toMatchObject({ code: 3 })
    expect(stderr).toContain('catalog.db')
    expect(backupIds(at)).toHaveLength(2)
  })
})
