import { randomFillSync } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inBucket, isEncrypted } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { controlBytes, segmentBytes } from '../sources/postgres/segments.js'
import { canMount, fill, smallDisk } from './helpers/small-disk.js'
import { expectStored, killLookingAhead } from './helpers/wal-kills.js'
import { MIB, spooled, type WalPlace, walPlace } from './helpers/wal-place.js'

const root = process.getuid?.() === 0
const nobody = { uid: 65534, gid: 65534 }

describe('pitr archive', () => {
  it('stores a segment durably and quietly, without a state directory, and claims the source for its system', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    expect(await at.archiveSegment(name)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await expectStored(at, [name])
    expect(storedIn(at.repository).read('main/source.json').toString()).toContain(at.archive.systemIdentifier)
    // Only an encrypted archive needs one: the key that signs lies there.
    expect(existsSync(join(at.directory, isEncrypted ? 'state' : 'nowhere'))).toBe(isEncrypted)
    const { closed_at } = await at.archive.header(name)
    const late = Date.parse(closed_at) - statSync(join(at.data, 'pg_wal', name)).mtimeMs
    expect(late >= 0 && late < 1.001, `${late} ms`).toBe(true)
  })

  it('takes the very same segment again and never another one under its name', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    await at.archiveSegment(name)
    const stored = storedIn(at.repository)
    const before = stored.read(at.storedName(name))
    expect(await at.archiveSegment(name)).toMatchObject({ code: 0, stderr: '' })
    at.ready([1], { fill: 99 })
    const refused = await at.archiveSegment(name)
    expect(refused.code).toBe(8)
    expect(refused.stderr).toContain(`${name} is in the archive already with another content`)
    expect(stored.read(at.storedName(name)).equals(before)).toBe(true)
  })

  it('archives histories, labels and unfinished segments', async () => {
    const at = await walPlace()
    const wal = join(at.data, 'pg_wal')
    const files = {
      '00000002.history': Buffer.from('1\t0/300000\tno recovery target specified\n'),
      '000000010000000000000003.00000028.backup': Buffer.from('START WAL LOCATION: 0/300028 (file …)\n'),
      '000000010000000000000003.partial': segmentBytes(3),
      // The first segment of a timeline begins as the old one's.
      '000000020000000000000003': segmentBytes(3),
    }
    for (const [name, bytes] of Object.entries(files)) {
      writeFileSync(join(wal, name), bytes)
      expect(await at.archiveSegment(name)).toMatchObject({ code: 0, stderr: '' })
    }
    await expectStored(at, Object.keys(files))
  })

  it.each([
    ['a segment of another system', () => segmentBytes(1, { systemIdentifier: '42' })],
    ['a segment of another version', () => segmentBytes(1, { magic: 0xd116 })],
    ['a segment that was cut short', () => segmentBytes(1, { bytes: MIB - 8192 })],
    ['a segment with the content of another one', () => segmentBytes(2)],
    ['an empty file', () => Buffer.alloc(0)],
  ])('refuses %s', async (_, bytes) => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    writeFileSync(join(at.data, 'pg_wal', name), bytes())
    const { code, stderr } = await at.archiveSegment(name)
    expect(code).toBe(8)
    expect(stderr).toMatch(/^nexus-backup: error: .*\nhint: /)
    expect(await at.archive.names()).toEqual([])
  })

  it('refuses the log of a second system for the same source', async () => {
    const at = await walPlace()
    await at.archiveSegment(at.ready([1])[0] ?? '')
    writeFileSync(join(at.data, 'global/pg_control'), controlBytes('42'))
    const [name = ''] = at.ready([2], { systemIdentifier: '42' })
    expect((await at.archiveSegment(name)).code).toBe(8)
    const named = await at.call(['pitr', 'archive', '--source', 'main', `pg_wal/${name}`])
    expect(named.code).toBe(8)
    expect(named.stderr).toContain('belongs to postgres cluster')
    expect(storedIn(at.repository).entries('main/wal')).toEqual([at.archive.systemIdentifier])
  })

  it('never ends above 125, whatever is wrong', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    const wrong = [
      ['pitr', 'archive'],
      ['pitr', 'archive', 'pg_wal/nothing'],
      ['pitr', 'archive', '--nonsense', `pg_wal/${name}`],
      ['pitr', 'archive', 'pg_wal/0000000100000000000000FF'],
      ['pitr', 'archive', '--source', 'other', `pg_wal/${name}`],
    ]
    for (const words of wrong) {
      const { code } = await at.call(words)
      expect(code, words.join(' ')).toBeGreaterThan(0)
      expect(code, words.join(' ')).toBeLessThanOrEqual(125)
    }
    const stopped = at.start(['--config', at.config, 'pitr', 'archive', `pg_wal/${name}`])
    stopped.child.kill('SIGSTOP')
    stopped.child.kill('SIGTERM')
    stopped.child.kill('SIGCONT')
    // Node may not have taken the signal over yet; once it has, the status is ours.
    const { code, signal } = await stopped.done
    expect(signal === 'SIGTERM' || (code ?? 126) <= 125).toBe(true)
    storedIn(at.repository).remove('')
    expect((await at.archiveSegment(name)).code).toBe(5)
  })

  it('does nothing on a dry run', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    const { code, stdout } = await at.call([
      'pitr',
      'archive',
      '--dry-run',
      '--json',
      '--source',
      'main',
      `pg_wal/${name}`,
    ])
    expect([code, JSON.parse(stdout).result]).toEqual([0, 'planned'])
    expect(storedIn(at.repository).files('main')).toEqual([])
  })
})

describe('looking ahead', () => {
  const call = (name: string) => ['pitr', 'archive', `pg_wal/${name}`]

  it('stores every file that is ready and answers the calls for them without starting Node', async () => {
    const at = await walPlace()
    const names = at.ready([1, 2, 3, 4, 5])
    const [first = '', ...others] = names
    expect(await at.archiveSegment(first)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await expectStored(at, names)
    expect(spooled(at)).toEqual(others.map(name => `${name}.stored`))
    expect(await at.withoutNode(call(first))).toBe(77)
    for (const name of others) expect(await at.withoutNode(call(name))).toBe(0)
  })

  it('answers nothing when segment, stored file, configuration or command line are not as they were', async () => {
    const at = await walPlace()
    const [first = '', second = '', third = '', fourth = ''] = at.ready([1, 2, 3, 4])
    await at.archiveSegment(first)
    at.ready([2], { fill: 99 })
    expect(await at.withoutNode(call(second))).toBe(77)
    expect((await at.archiveSegment(second)).code).toBe(8)
    // Of an object nothing can be asked without Node.
    if (!inBucket) {
      rmSync(at.stored(third))
      expect(await at.withoutNode(call(third))).toBe(77)
      expect((await at.archiveSegment(third)).code).toBe(0)
      await expectStored(at, [third])
    }
    expect(await at.withoutNode(['pitr', 'archive', '--source', 'main', `pg_wal/${fourth}`])).toBe(77)
    expect(await at.withoutNode(call(fourth))).toBe(0)
    utimesSync(at.config, new Date(), new Date())
    expect(await at.withoutNode(call(fourth))).toBe(77)
  })

  it('does not believe a note that is cut off or of something else', async () => {
    const at = await walPlace()
    const [first = '', second = ''] = at.ready([1, 2])
    await at.archiveSegment(first)
    const note = join(at.data, 'pg_wal/.nexus-backup', `${second}.stored`)
    const lines = readFileSync(note, 'utf8').split('\n')
    for (let kept = 0; kept < 3; kept += 1) {
      writeFileSync(note, lines.slice(0, kept).join('\n'))
      expect(await at.withoutNode(call(second)), `${kept} lines`).toBe(77)
    }
    writeFileSync(note, 'something else\n')
    expect(await at.withoutNode(call(second))).toBe(77)
    expect((await at.archiveSegment(second)).code).toBe(0)
  })

  it('makes no failure of another file its own, and removes notes that nobody will ask for', async () => {
    const at = await walPlace()
    const [first = '', second = '', third = ''] = at.ready([1, 2, 3])
    writeFileSync(join(at.data, 'pg_wal', second), 'broken')
    expect(await at.archiveSegment(first)).toMatchObject({ code: 0, stderr: '' })
    expect((await at.archiveSegment(second)).code).toBe(8)
    rmSync(join(at.data, 'pg_wal', second))
    rmSync(join(at.data, 'pg_wal/archive_status', `${second}.ready`))
    const stale = join(at.data, 'pg_wal/.nexus-backup', `${first}.stored`)
    writeFileSync(stale, 'stale')
    rmSync(join(at.data, 'pg_wal/archive_status', `${first}.ready`))
    const [last = ''] = at.ready([4])
    expect((await at.archiveSegment(last)).code).toBe(0)
    expect(existsSync(stale)).toBe(false)
    await expectStored(at, [first, third, last])
  })

  it('leaves others alone when nobody waits for this one', async () => {
    const at = await walPlace()
    const [first = '', second = ''] = at.ready([1, 2])
    rmSync(join(at.data, 'pg_wal/archive_status', `${first}.ready`))
    await at.archiveSegment(first)
    expect(await at.archive.names()).toEqual([first])
    expect(await at.withoutNode(call(second))).toBe(77)
  })

  // test/soak/kill.test.ts takes dozens of moments.
  it('never says of a segment that it is stored when it is not, killed at any moment', () => killLookingAhead(6))
})

describe('pitr fetch', () => {
  const to = 'pg_wal/RECOVERYXLOG'

  /** What a fetch or a look ahead has left in pg_wal, and beside it. */
  function leftovers({ data, temporary }: WalPlace): string[] {
    const found = readdirSync(join(data, 'pg_wal'), { recursive: true, encoding: 'utf8' })
    const inWal = found
      .filter(path => path.includes('.fetched') || path.includes('.nexus-'))
      .filter(path => path !== '.nexus-backup' && !path.endsWith('.stored'))
    return [...inWal, ...readdirSync(temporary)]
  }

  async function archived(numbers: readonly number[]): Promise<{ at: WalPlace; names: string[] }> {
    const at = await walPlace()
    const names = at.ready(numbers)
    await at.archiveSegment(names[0] ?? '')
    expect(await at.archive.names()).toEqual(names)
    return { at, names }
  }

  it('puts a file where the server wants it, and the next ones aside for the calls to come', async () => {
    const { at, names } = await archived([1, 2, 3, 4])
    const wanted = (name: string) => readFileSync(join(at.data, 'pg_wal', name))
    for (const [index, name] of names.entries()) {
      const words = ['pitr', 'fetch', '--source', 'main', name, to]
      const code = index === 0 ? (await at.call(words)).code : await at.withoutNode(words)
      expect(code, name).toBe(0)
      expect(readFileSync(join(at.data, to)).equals(wanted(name)), name).toBe(true)
    }
    // The end of the log: what is left of looking ahead goes.
    expect((await at.call(['pitr', 'fetch', '--source', 'main', '000000010000000000000005', to])).code).toBe(5)
    expect((await at.call(['pitr', 'fetch', '--source', 'main', '00000002.history', to])).code).toBe(5)
    expect(leftovers(at)).toEqual([])
  })

  it('serves nothing taken ahead that was changed since, nor to another system', async () => {
    const { at, names } = await archived([1, 2, 3])
    const [first = '', second = '', third = ''] = names
    const words = (name: string) => ['pitr', 'fetch', name, to]
    await at.call(words(first))
    const aside = (name: string) => at.aside(`${name}.fetched`)
    const bytes = readFileSync(aside(second))
    bytes[1000] = (bytes[1000] ?? 0) ^ 1
    writeFileSync(aside(second), bytes)
    expect(await at.withoutNode(words(second))).toBe(77)
    writeFileSync(join(at.data, 'global/control'), controlBytes('42'))
    renameSync(join(at.data, 'global/control'), join(at.data, 'global/pg_control'))
    expect(await at.withoutNode(words(third))).toBe(77)
    rmSync(join(at.data, to))
    for (const named of [[], ['--source', 'main']]) {
      const { code } = await at.call(['pitr', 'fetch', ...named, third, to])
      // The source has no log of this system at all.
      expect(code).toBe(named.length === 0 ? 126 : 5)
      expect(existsSync(join(at.data, to))).toBe(false)
    }
  })

  it('ends with 126 for damage, and puts nothing in place', async () => {
    const { at, names } = await archived([1])
    const [name = ''] = names
    const stored = storedIn(at.repository)
    const bytes = stored.read(at.storedName(name))
    bytes[bytes.length - 20] = (bytes.at(-20) ?? 0) ^ 1
    stored.write(at.storedName(name), bytes)
    const { code, stderr } = await at.call(['pitr', 'fetch', name, to])
    expect(code).toBe(126)
    expect(stderr).toContain('is damaged')
    expect([existsSync(join(at.data, to)), leftovers(at)]).toEqual([false, []])
  })

  it('ends with 126 for everything that is not a missing file', async () => {
    const { at, names } = await archived([1])
    const [name = ''] = names
    const lines: string[][] = [
      ['pitr', 'fetch'],
      ['pitr', 'fetch', name],
      ['pitr', 'fetch', name, to, 'more'],
      ['pitr', 'fetch', '--nonsense', name, to],
      ['pitr', 'fetch', 'nonsense', to],
      ['pitr', 'fetch', '--source', 'other', name, to],
      ['pitr', 'fetch', name, 'no/such/directory'],
      ['pitr', 'fetch', '--wait', 'x', name, to],
    ]
    for (const words of lines) expect((await at.call(words)).code, words.join(' ')).toBe(126)
    const json = await at.call(['pitr', 'fetch', '--json', '--source', 'other', name, to])
    expect(JSON.parse(json.stderr).error.exit_code).toBe(126)
    storedIn(at.repository).remove('')
    expect((await at.call(['pitr', 'fetch', name, to])).code).toBe(126)
    // An empty directory where the repository was mounted.
    if (!inBucket) mkdirSync(at.repository)
    expect((await at.call(['pitr', 'fetch', name, to])).code).toBe(126)
    writeFileSync(at.config, 'sources: 1')
    expect((await at.call(['pitr', 'fetch', name, to])).code).toBe(126)
    rmSync(at.config)
    expect((await at.call(['pitr', 'fetch', name, to])).code).toBe(126)
  })

  // Objects have no modes.
  it.skipIf(!root || inBucket)('ends with 126 when the archive cannot be read', async () => {
    const at = await walPlace({ owner: nobody })
    const [name = ''] = at.ready([1])
    expect((await at.archiveSegment(name)).code).toBe(0)
    const path = at.stored(name)
    chmodSync(path, 0)
    expect((await at.call(['pitr', 'fetch', name, to])).code).toBe(126)
    for (const closed of [join(path, '..'), join(at.repository, 'main'), at.repository]) {
      const { mode } = statSync(closed)
      chmodSync(closed, 0)
      for (const wanted of [name, '00000002.history', '000000010000000000000009']) {
        expect((await at.call(['pitr', 'fetch', '--source', 'main', wanted, to])).code, closed).toBe(
          wanted === '00000002.history' && closed.endsWith('00000001') ? 5 : 126,
        )
      }
      chmodSync(closed, mode)
    }
  })
})

describe('an archive in a bucket that cannot be reached', () => {
  it('makes archiving fail and be tried again, and stops recovery', async () => {
    const at = await walPlace()
    const s3 = 's3: { bucket: none, endpoint: "http://127.0.0.1:1" }'
    writeFileSync(at.config, `repositories: { away: { ${s3} } }\nsources: { main: { kind: postgres } }\n`)
    const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_REGION: 'us-east-1' }
    const [name = ''] = at.ready([1])
    const { code } = await at.archiveSegment(name, { env })
    expect([code === 0, (code ?? 126) <= 125]).toEqual([false, true])
    expect((await at.call(['pitr', 'fetch', name, 'fetched'], { env })).code).toBeGreaterThanOrEqual(126)
  })
})

describe('users and disks', () => {
  it.skipIf(!root)('root and the server share one repository with nothing wrong about owners', async () => {
    const at = await walPlace({ owner: nobody })
    const [first = '', second = '', third = ''] = at.ready([1, 2, 3])
    // By hand as root, in the server's directory.
    const asRoot = { uid: 0, gid: 0 }
    expect(await at.archiveSegment(first, asRoot)).toMatchObject({ code: 0, stderr: '' })
    expect(existsSync(join(at.data, 'pg_wal/.nexus-backup'))).toBe(false)
    expect((await at.archiveSegment(second)).code).toBe(0)
    expect((await at.archiveSegment(first)).code).toBe(0)
    expect((await at.archiveSegment(third, asRoot)).code).toBe(0)
    expect((await at.call(['pitr', 'fetch', first, 'pg_wal/RECOVERYXLOG'], asRoot)).code).toBe(0)
    for (const top of inBucket ? [at.data] : [at.repository, at.data]) {
      for (const path of readdirSync(top, { recursive: true, encoding: 'utf8' })) {
        if (path.endsWith('.ready')) continue
        expect([path, statSync(join(top, path)).uid]).toEqual([path, nobody.uid])
      }
    }
    await expectStored(at, [first, second, third])
  })

  it.skipIf(!canMount || inBucket)(
    'fails while the disk is full, leaves nothing half, and goes on when there is room',
    async () => {
      const at = await walPlace()
      const disk = smallDisk(join(at.directory, 'disk'), 24 * MIB)
      const full = await walPlace({ repository: join(disk, 'repository') })
      const [first = '', second = ''] = full.ready([1, 2], { segmentBytes: 4 * MIB })
      for (const name of [first, second]) {
        const bytes = readFileSync(join(full.data, 'pg_wal', name))
        writeFileSync(join(full.data, 'pg_wal', name), randomFillSync(bytes, 100))
      }
      const free = fill(disk, 2 * MIB)
      const { code, stderr } = await full.archiveSegment(first)
      expect(code).toBe(1)
      expect(stderr).toContain('no space left')
      expect(await full.archive.names()).toEqual([])
      free()
      expect((await full.archiveSegment(first)).code).toBe(0)
      await expectStored(full, [first, second])
    },
  )
})
