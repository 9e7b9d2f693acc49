import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inBucket } from '../helpers/repository-kind.js'
import { crashAfterCommit, expectedState, holdOpen, makeDatabase, stateOf } from './helpers/database.js'
import { runPrinted } from './helpers/late.js'
import { leftoversBeside, place, setAside } from './helpers/place.js'
import { run } from './helpers/run.js'

describe('the undo that a restore prints', () => {
  it('for --to --force brings back what stood there, its log included, and its own undo the restored one', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const target = join(at.directory, 'live', "it's mine.db")
    await makeDatabase(target)
    await crashAfterCommit(target, 5)
    const { code, document } = await at.json('restore', ['app', '--to', target, '--force'])
    expect(code).toBe(0)
    expect(stateOf(target)).toEqual(expectedState(0))
    expect(document.undo).not.toMatch(/\bmv\b/)
    const undone = await runPrinted(`${document.undo} --json`)
    expect(undone).toMatchObject({ code: 0, stderr: '' })
    expect(stateOf(target)).toEqual(expectedState(5))
    const holder = await holdOpen(target)
    const again = JSON.parse(undone.stdout).undo
    const refused = await runPrinted(again)
    expect(refused.code).toBe(8)
    expect(refused.stderr).toContain(`pid ${holder.child.pid}`)
    holder.child.kill('SIGKILL')
    await holder.done
    expect(await runPrinted(again)).toMatchObject({ code: 0 })
    expect(stateOf(target)).toEqual(expectedState(0))
    // Neither a configuration nor a repository is needed.
    const bare = ['restore', 'app', '--rollback', '--to', target, '--state', join(at.directory, 'elsewhere')]
    expect(await run([...bare, '--dry-run'])).toMatchObject({ code: 0 })
    expect(await run(bare)).toMatchObject({ code: 0, stderr: '' })
    expect(stateOf(target)).toEqual(expectedState(5))
    expect(setAside(target).filter(name => name.startsWith(target))).toHaveLength(1)
    expect(leftoversBeside(target).filter(name => !name.startsWith('app.db'))).toEqual([])
  })

  it('for a restore in place is the rollback by the name of the source', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    await crashAfterCommit(at.database, 3)
    const { document } = await at.json('restore', ['app', '--in-place', '--confirm', 'app'])
    expect(stateOf(at.database)).toEqual(expectedState(0))
    expect(await runPrinted(document.undo)).toMatchObject({ code: 0 })
    expect(stateOf(at.database)).toEqual(expectedState(3))
  })

  it.skipIf(inBucket)('for a directory brings the former one back, with a configuration', async () => {
    const at = place()
    const [uploads, target] = [join(at.directory, 'uploads'), join(at.directory, 'target')]
    for (const [name, content] of [
      [uploads, 'new'],
      [target, 'old'],
    ] as const) {
      mkdirSync(name)
      writeFileSync(join(name, 'file'), content)
    }
    const config = join(at.directory, 'config.yaml')
    const key = at.keyFile === undefined ? [] : ['--key-file', at.keyFile]
    const settings = {
      state: at.state,
      repositories: { local: { path: at.repository } },
      sources: { up: { kind: 'files', paths: [uploads] } },
    }
    writeFileSync(config, JSON.stringify(settings))
    const flags = ['--config', config, ...key]
    expect(await run(['create', '--init', ...flags])).toMatchObject({ code: 0 })
    const forced = await run(['restore', 'up', '--to', target, '--force', '--json', ...flags])
    expect(forced).toMatchObject({ code: 0 })
    expect(await runPrinted(JSON.parse(forced.stdout).undo)).toMatchObject({ code: 0 })
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('old')
  })
})

describe('restore --rollback --to', () => {
  it('refuses what does not fit together, and finds nothing where nothing was set aside', async () => {
    const at = place()
    for (const more of [['--force'], ['--in-place']]) {
      const { code } = await run(['restore', 'app', '--rollback', '--to', at.database, ...more])
      expect(code).toBe(2)
    }
    const nothing = await run(['restore', 'app', '--rollback', '--to', at.database, '--state', at.state])
    expect(nothing.code).toBe(5)
    expect(nothing.stderr).toContain(at.database)
  })
})
