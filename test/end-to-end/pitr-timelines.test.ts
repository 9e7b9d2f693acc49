import { execFileSync } from 'node:child_process'
import { appendFileSync, chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { isEncrypted } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import {
  type ClusterPlace,
  clusterPlace,
  contentOf,
  eventually,
  fill,
  ownedBy,
  recovered,
  SOURCE,
} from './helpers/cluster.js'
import { archived, archiveInto, burst, type Mark, mark } from './helpers/recovery.js'

let cluster: TestCluster
let place: ClusterPlace
let abandoned: Mark
let last: Mark
/** Of the cluster while it ran as restored in place. */
let ofRestored: string

it('a cluster was restored in place, went on, was rolled back and went on', async () => {
  cluster = await startCluster({ lean: true, settings: { archive_mode: 'on', archive_command: '' } })
  place = clusterPlace(cluster, { more: [`data_directory: ${cluster.directory}`] })
  await fill(cluster, 1)
  await place.backUp('full', ownedBy(cluster))
  await archiveInto(cluster, place)
  await burst(cluster)
  await archived(cluster, place)
  await cluster.stop()

  await place.ok('restore', [SOURCE, '--in-place', '--confirm', SOURCE])
  await cluster.start()
  await eventually(cluster, 'SELECT pg_is_in_recovery()', 'f')
  await archiveInto(cluster, place)
  await cluster.psql('CREATE TABLE elsewhere AS SELECT 1 AS number')
  ofRestored = (await place.backUp('full')).id
  await burst(cluster)
  abandoned = await mark(cluster, 'abandoned')
  await archived(cluster, place)
  await cluster.stop()

  await place.ok('restore', [SOURCE, '--rollback', '--confirm', SOURCE])
  await cluster.start()
  await burst(cluster)
  last = await mark(cluster, 'last')
  await archived(cluster, place)
})

const target = (name: string) => join(place.directory, name)

async function contentIn(directory: string): Promise<Record<string, string>> {
  const copy = await startCluster({ directory })
  await eventually(copy, 'SELECT pg_is_in_recovery()', 'f')
  const content = await contentOf(copy)
  await copy.stop()
  return content
}

describe('of several timelines', () => {
  it('the one written last is followed, not the one with the highest number, and both are told', async () => {
    const { code, document } = await place.json('pitr restore', [
      SOURCE,
      '--end',
      '--to',
      target('end'),
      '--start',
      '--stop',
    ])
    expect([code, document.timeline]).toEqual([0, 1])
    expect(document.notes).toContainEqual(expect.stringMatching(/^timeline 1 is followed.*timeline 2 .*--timeline 2/))
    expect(await contentIn(target('end'))).toEqual(last.content)
    const plan = await place.ok('pitr restore', [SOURCE, '--end', '--to', target('none'), '--dry-run'])
    expect(plan.stderr).toMatch(/timeline 1 is followed/)
    const at = await place.json('pitr restore', [SOURCE, '--at', last.at, '--to', target('at'), '--dry-run'])
    expect(at.document.plan.timeline).toBe(1)
  })

  it('the others are shown apart and can be named', async () => {
    const { document } = await place.json('pitr points', [SOURCE])
    expect(document.windows.map(({ timeline }: { timeline: number }) => timeline)).toEqual([1])
    expect(new Set(document.branches.map(({ timeline }: { timeline: number }) => timeline))).toEqual(new Set([2]))
    const args = ['--end', '--timeline', '2', '--to', target('left'), '--start', '--stop']
    const left = await place.json('pitr restore', [SOURCE, ...args])
    expect([left.code, left.document.timeline, left.document.notes]).toEqual([0, 2, []])
    expect(await contentIn(target('left'))).toEqual(abandoned.content)
  })
})

describe('a backup of a cluster that was restored once', () => {
  it('is recovered by hand with what RECOVER.txt says, to the end of the archive', async () => {
    const repository = storedIn(place.repository).asDirectory()
    // Whoever downloads it must let the server's user in.
    execFileSync('chmod', ['-R', 'a+rX', repository])
    const text = readFileSync(join(repository, 'RECOVER.txt'), 'utf8')
    const sed = text.split('\n').find(line => line.startsWith('  sed ')) ?? ''
    const commands = text.match(/(?<=^ +)restore_command = .*$/gm) ?? []
    const restoreCommand = commands.find(line => line.includes('--key-file') === isEncrypted) ?? ''
    const byHand = recovered(place, ofRestored)
    const configuration = join(byHand, 'postgresql.auto.conf')
    // That restore has left nothing there.
    expect(readFileSync(configuration, 'utf8')).not.toMatch(/^[^#]*(recovery|restore_)/m)
    // As an older one or a standby's life would have.
    appendFileSync(configuration, "recovery_target = 'immediate'\nprimary_conninfo = 'host=gone'\n")
    execFileSync('sh', ['-c', sed], { cwd: byHand })
    expect(readFileSync(configuration, 'utf8')).not.toMatch(/^(recovery_|restore_|primary_)/m)
    const system = await cluster.psql('SELECT system_identifier FROM pg_control_system()')
    const names = {
      node: process.execPath,
      '/path/of/key': place.keyFile ?? '',
      REPO: repository,
      SOURCE,
      SYSTEM: system,
    }
    const ours = Object.entries(names).reduce((line, [name, value]) => line.replaceAll(name, value), restoreCommand)
    const include = text.split('\n').find(line => line.includes("include_if_exists 'recovery.signal'")) ?? ''
    appendFileSync(configuration, `archive_mode = off\n${include.trim()}\n`)
    const signal = join(byHand, 'recovery.signal')
    writeFileSync(signal, `${ours}\n`)
    const { uid, gid } = statSync(byHand)
    chownSync(signal, uid, gid)
    expect(await contentIn(byHand)).toEqual(abandoned.content)
    expect(existsSync(signal)).toBe(false)
  })
})
