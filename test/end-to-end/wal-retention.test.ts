import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { forOthers, isReachable } from '../helpers/checkout.js'
import { roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { inYaml, partName, testRepository } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { ownedBy } from './helpers/cluster.js'
import { binary, type Finished, run } from './helpers/run.js'

const deadline = 90_000
/** The server's user runs this program as its archive_command. */
const reachable = process.getuid?.() !== 0 || isReachable() || process.env.NEXUS_BACKUP_TEST_CHECKOUT !== undefined

/** A cluster of which every segment is archived, with its repository and configuration. */
interface ArchivingCluster extends TestCluster {
  repository: string
  /** Runs `nexus-backup ARGS --config …`. */
  nexus(...args: string[]): Promise<Finished>
  /** The same with `--json`: the exit status and the document. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever a command printed; the tests say what it must be
  json(...args: string[]): Promise<{ code: number | null; document: any }>
  /** Adds a row, begins a new segment and waits until the old one is archived. Returns its name. */
  write(text: string): Promise<string>
  /** Names of the archived segments, sorted. */
  segments(): string[]
}

async function archiving(): Promise<ArchivingCluster> {
  const cluster = await startCluster({ initdb: ['--wal-segsize=1'], stopped: true })
  const state = roomFor(cluster, 'state')
  const at = testRepository(join(cluster.room, 'repository'), join(cluster.room, 'key'), cluster)
  const { repository } = at
  const config = join(cluster.room, 'config.yaml')
  writeFileSync(
    config,
    `timezone: UTC
state: ${state}
repositories:
  local: ${inYaml(at)}
sources:
  db: { kind: postgres, connection: "${cluster.connection}", keep: { last: 9, pitr: 1s } }
`,
  )
  chmodSync(config, 0o644)
  const command = `${process.execPath} ${forOthers(binary)} --config ${config} pitr archive --source db %p`
  cluster.configure({ min_wal_size: '2MB', max_wal_size: '8MB', archive_mode: 'on', archive_command: command })
  await cluster.start()
  await cluster.psql('CREATE TABLE notes (id serial PRIMARY KEY, at timestamptz DEFAULT now(), text text)')
  const nexus = (...args: string[]) => run([...args, '--config', config])
  return {
    ...cluster,
    repository,
    nexus,
    async json(...args) {
      const { code, stdout, stderr } = await nexus(...args, '--json')
      if (stdout === '') throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}`)
      return { code, document: JSON.parse(stdout) }
    },
    async write(text) {
      await cluster.psql(`INSERT INTO notes (text) VALUES ('${text}')`)
      const name = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
      await until(async () => (await cluster.psql('SELECT last_archived_wal FROM pg_stat_archiver')) >= name)
      return name
    },
    segments: () => segmentsIn(repository),
  }
}

function segmentsIn(repository: string): string[] {
  const paths = storedIn(repository).files('db/wal')
  return paths
    .map(path => path.replace(/^.*\//, ''))
    .filter(name => /^[0-9A-F]{24}\.zst/.test(name))
    .map(name => name.slice(0, 24))
    .sort()
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const began = Date.now(); !(await condition()); await new Promise(resolve => setTimeout(resolve, 50))) {
    if (Date.now() - began > deadline) throw new Error('waited in vain')
  }
}

/** Three fulls with rows and segments after each, the last of them at least a second after its capture. */
async function threeBases(cluster: ArchivingCluster): Promise<string[]> {
  const ids: string[] = []
  for (const [index, flags] of [['--init', ...ownedBy(cluster)], [], []].entries()) {
    const { code, document } = await cluster.json('create', 'db', '--type', 'full', ...flags)
    expect(document.failures).toEqual([])
    expect(code).toBe(0)
    ids.push(document.backups[0].id)
    for (const row of [1, 2, 3]) await cluster.write(`${index + 1}.${row}`)
    const captured = document.backups[0].captured_at
    await until(async () => (await cluster.psql(`SELECT now() > '${captured}'::timestamptz + '2 s'::interval`)) === 't')
    await cluster.write(`${index + 1}.later`)
  }
  return ids
}

describe.skipIf(!reachable)(
  'retention of a cluster that archives (the working tree must be reachable for its user)',
  () => {
    it('keeps what the window needs, makes older bases points that restore without the archive, and tells loss from retention', async () => {
      const cluster = await archiving()
      const [first = '', second = '', third = ''] = await threeBases(cluster)
      const before = cluster.segments()
      const sound = await cluster.json('verify', 'db')
      expect(sound.code).toBe(0)
      expect(sound.document.results.map((result: { id: string }) => result.id)).toContainEqual(
        expect.stringMatching(/^wal\/\d+\/00000001$/),
      )

      const planned = await cluster.json('prune', 'db', '--dry-run')
      expect(cluster.segments()).toEqual(before)
      const pruned = await cluster.json('prune', 'db')
      expect(pruned.code).toBe(0)
      const [wal] = pruned.document.wal
      expect(planned.document.wal).toEqual(pruned.document.wal)
      expect(pruned.document.delete).toEqual([])
      expect(wal.reasons).toEqual([
        expect.stringContaining(`begins with ${third}`),
        `${first} is a point, not the beginning of a window`,
        `${second} is a point, not the beginning of a window`,
      ])
      expect(cluster.segments()).toEqual(before.filter(name => name >= wal.keep_from))
      expect(wal.delete).toMatchObject({ segments: before.length - cluster.segments().length, from: before[0] })
      expect((await cluster.json('verify', 'db')).code).toBe(0)

      const point = join(cluster.room, 'point')
      expect(await cluster.nexus('restore', first, '--to', point)).toMatchObject({ code: 0 })
      const copy = await startCluster({ directory: point, settings: { archive_mode: 'off', restore_command: 'false' } })
      expect(await copy.psql('SELECT count(*) FROM notes')).toBe('0')
      await copy.stop()

      const end = join(cluster.room, 'end')
      const restored = await cluster.nexus('pitr', 'restore', 'db', '--end', '--to', end)
      expect(restored).toMatchObject({ code: 0 })
      const whole = await startCluster({ directory: end })
      await until(async () => (await whole.psql('SELECT pg_is_in_recovery()')) === 'f')
      expect(await whole.psql('SELECT text FROM notes ORDER BY id DESC LIMIT 1')).toBe('3.later')
      await whole.stop()

      const lost = cluster.segments().at(-2) ?? ''
      const directory = `db/wal/${wal.system_identifier}/00000001`
      storedIn(cluster.repository).remove(`${directory}/${partName(`${lost}.zst`)}`)
      const damaged = await cluster.json('verify', 'db')
      expect(damaged.code).toBe(4)
      expect(damaged.document.results).toContainEqual(
        expect.objectContaining({
          id: `wal/${wal.system_identifier}/00000001`,
          status: 'damaged',
          findings: [{ part: lost, problem: 'is missing' }],
          affects: [third],
        }),
      )
    }, 300_000)
  },
)
