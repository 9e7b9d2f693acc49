import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { restoreCommand } from '../../../src/operations/wal/restore-command.js'
import { tryRestoreCommand } from '../../../src/operations/wal/try-restore-command.js'
import { namedAccount } from '../../../src/sources/postgres/run-as.js'
import { binary, run } from '../../end-to-end/helpers/run.js'
import { type WalPlace, walPlace } from '../../end-to-end/helpers/wal-place.js'
import { testContext } from '../../helpers/context.js'

const isRoot = process.getuid?.() === 0
const serverUid = 65534
const unknown = '0000000100000000000000FF'

describe.runIf(isRoot)('a restore_command, before a server depends on it', () => {
  let at: WalPlace
  let segment: string
  /** Where that user's temporary files go. */
  let scratch: string

  beforeEach(async () => {
    at = await walPlace({ owner: { uid: serverUid, gid: serverUid }, plain: true })
    segment = at.ready([1])[0] ?? ''
    scratch = join(at.directory, 'scratch')
    mkdirSync(scratch)
    chownSync(scratch, serverUid, serverUid)
    expect((await at.archiveSegment(segment)).code).toBe(0)
  })

  /** Tries it as the server's user; the flags are those of the configuration unless others are given. */
  async function attempt(
    wishes: { flags?: string[]; program?: string; file?: string; needed?: boolean; command?: string } = {},
  ) {
    const { flags = ['--config', at.config], program = binary, file = segment, needed = true } = wishes
    const command = wishes.command ?? restoreCommand({ node: process.execPath, program, flags, source: 'main' })
    const account = await namedAccount(serverUid, serverUid)
    const env = { PATH: process.env.PATH, TMPDIR: scratch }
    await tryRestoreCommand(testContext({ env }), {
      command,
      account,
      file,
      needed,
      archive: at.archive,
      fromBucket: false,
    })
  }

  it('passes when its user can fetch, and leaves nothing behind', async () => {
    await attempt()
    await attempt({ file: unknown, needed: false })
    expect(readdirSync(scratch)).toEqual([])
  })

  const closed: [string, () => { flags?: string[]; program?: string; command?: string; file?: string }, RegExp][] = [
    [
      'a configuration that only root reads',
      () => {
        chmodSync(at.config, 0o600)
        chownSync(at.config, 0, 0)
        return {}
      },
      /config/,
    ],
    [
      'a repository that only root reads',
      () => {
        chownSync(at.repository, 0, 0)
        chmodSync(at.repository, 0o700)
        return {}
      },
      /repository/,
    ],
    [
      'a directory on the way that is closed',
      () => {
        const room = join(at.directory, 'closed')
        mkdirSync(room, { mode: 0o700 })
        return { program: join(room, 'nexus-backup') }
      },
      /closed/,
    ],
    ['a program that is gone', () => ({ program: join(at.directory, 'gone') }), /gone/],
    ['a segment that is not there', () => ({ file: unknown }), /not in the archive/],
    ['a command that does nothing', () => ({ command: 'true' }), /fetched nothing/],
    ['a command that says nothing', () => ({ command: 'exit 3' }), /ended with 3 /],
    ['a command that is killed', () => ({ command: 'kill -9 $$' }), /Killed|137/],
  ]
  it.each(closed)('is refused: %s', async (_, prepare, says) => {
    const wishes = prepare()
    const failure = attempt(wishes)
    await expect(failure).rejects.toMatchObject({ kind: 'refused', code: 'restore_command_fails' })
    await expect(failure).rejects.toThrow(says)
    await expect(failure).rejects.toThrow(/^user nobody cannot fetch /)
    expect(existsSync(at.repository)).toBe(true)
  })

  it('is refused: a key that only root reads', async () => {
    const key = join(at.directory, 'root-key')
    expect(await run(['keys', 'create', key])).toMatchObject({ code: 0 })
    // What root keeps in it belongs to the server's user then, who signs with it.
    mkdirSync(join(at.directory, 'nowhere'), { mode: 0o700 })
    chownSync(join(at.directory, 'nowhere'), serverUid, serverUid)
    expect(await run(['keys', 'add', `key-file=${key}`, '--config', at.config])).toMatchObject({ code: 0 })
    const [sealed = ''] = at.ready([2])
    expect((await at.archiveSegment(sealed)).code).toBe(0)
    const flags = ['--config', at.config, '--key-file', key]
    await expect(attempt({ flags, file: sealed })).rejects.toThrow(/root-key/)
    chownSync(key, serverUid, serverUid)
    await attempt({ flags, file: sealed })
  })
})
