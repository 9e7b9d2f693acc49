import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { rollback } from '../../../src/operations/rollback.js'
import { isRoot } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'
import { apply, chain, look } from './all-entries.js'

const has = (program: string) => spawnSync(program, ['--version']).status === 0
const [hasRsync, hasSetfattr] = [has('rsync'), has('setfattr')]

/** Two trees to compare: what the second one would have to be given to be the first. */
function differences(is: string, was: string): string {
  expect(look(is)).toEqual(look(was))
  if (!hasRsync) return ''
  // Without its options an unprivileged user would be told of owners.
  const owners = isRoot ? [] : ['--no-owner', '--no-group']
  return execFileSync('rsync', [
    '-aHAXn',
    '--delete',
    '--numeric-ids',
    '--itemize-changes',
    ...owners,
    `${was}/`,
    `${is}/`,
  ]).toString('latin1')
}

/** The clock of the operations is ahead of the files: none of them counts as just written. */
function backedUp(): Directories {
  const at = directories()
  let looks = 0
  at.context.now = () => new Date(Date.now() + 10_000 + 1000 * looks++)
  return at
}

function partOf({ room }: Directories, id: string): string {
  const directory = join(room, 'repository/up', id)
  return join(directory, readdirSync(directory).find(name => name.endsWith('.tar.zst')) ?? '')
}

const tarOptions = ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '--warning=no-timestamp']

async function expectSame(at: Directories, id: string, recover: boolean): Promise<void> {
  const out = join(at.room, `restored-${id}`)
  const target = { kind: 'path', path: out, force: false } as const
  const result = await restore(at.context, at.journal, at.restoring(target, { backup: id }))
  expect(result.problems).toEqual([])
  expect(differences(join(out, at.uploads), at.uploads)).toBe('')
  if (!recover) return
  const recovered = join(at.room, `recovered-${id}`)
  const repository = join(at.room, 'repository')
  execFileSync(process.execPath, [join(repository, 'recover.mjs'), join(repository, 'up', id), recovered])
  if (hasSetfattr) expect(differences(join(recovered, at.uploads), at.uploads)).toBe('')
}

function expectTar(at: Directories, id: string): void {
  const part = partOf(at, id)
  const shell = (command: string) => spawnSync('sh', ['-c', `zstd -dc '${part}' | ${command}`])
  const diff = shell(`tar --diff ${tarOptions.join(' ')} -f - -C /`)
  expect([diff.stdout.toString('latin1'), diff.status]).toEqual(['', 0])
  const unpacked = join(at.room, `unpacked-${id}`)
  mkdirSync(unpacked)
  const extracted = shell(`tar -x ${tarOptions.join(' ')} --same-permissions -f - -C '${unpacked}'`)
  expect([extracted.stderr.toString('latin1'), extracted.status]).toEqual(['', 0])
  expect(differences(join(unpacked, at.uploads), at.uploads)).toBe('')
}

describe('a tree with entries of every kind', () => {
  it('comes back as it was from each member of a chain: restored, recovered, and unpacked by tar', async () => {
    await fc.assert(
      fc.asyncProperty(chain, async edits => {
        const at = backedUp()
        for (const [turn, some] of edits.entries()) {
          for (const one of some) await apply(at.uploads, one)
          const type = turn === 0 ? 'full' : turn === 1 ? 'incr' : 'diff'
          const { id, incomplete, warnings } = await at.backUp({ type })
          expect([incomplete, warnings]).toEqual([false, []])
          await expectSame(at, id, turn === edits.length - 1)
          if (turn === 0) expectTar(at, id)
        }
        const before = look(at.uploads)
        for (const one of edits[0] ?? []) await apply(at.uploads, { ...one, pick: one.pick + 1 })
        const changed = look(at.uploads)
        const place = at.restoring({ kind: 'in-place', source: at.source })
        expect(await restore(at.context, at.journal, place)).toMatchObject({ problems: [] })
        expect(look(at.uploads)).toEqual(before)
        await rollback(at.context, at.journal, { source: at.source, dryRun: false })
        expect(look(at.uploads)).toEqual(changed)
      }),
      { numRuns: 1, endOnFailure: true },
    )
  })
})
