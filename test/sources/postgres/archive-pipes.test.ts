import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, it, onTestFinished } from 'vitest'
import { ArchivePipes } from '../../../src/sources/postgres/archive-pipes.js'
import { joinTablespaces } from '../../../src/sources/postgres/tablespaces.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { pipeRooms } from './capturing.js'

/** An archive of one file, which has the archive's name and content. */
async function archive(name: string, content: string): Promise<string> {
  const directory = temporaryDirectory()
  writeFileSync(join(directory, name), content)
  const path = join(directory, 'archive.tar')
  await execa('tar', ['-c', '-f', path, '--format=ustar', '-C', directory, name])
  return path
}

async function pipes(names: readonly string[]): Promise<ArchivePipes> {
  const made = await ArchivePipes.make(names, null)
  onTestFinished(() => made.close())
  return made
}

/** A program that makes its directory, takes a moment, and goes on. */
function program({ directory }: ArchivePipes, then: string) {
  return execa('sh', ['-c', `mkdir "$0" && sleep 1 && cd "$0" && ${then}`, directory], { reject: false })
}

/** The names in the archive that is made of theirs. */
async function joined(from: ArchivePipes, running: ReturnType<typeof program>, failure?: Error): Promise<string[]> {
  const ended = async () => {
    await running
    if (failure !== undefined) throw failure
  }
  const pieces: Buffer[] = []
  const { directory } = from
  for await (const piece of joinTablespaces({ archives: from.archives(), directory, ended })) pieces.push(piece)
  const { stdout } = await execa('tar', ['-t'], { input: Buffer.concat(pieces) })
  return stdout.split('\n')
}

it('archives are read in the order in which they are written, and one that is not written is none', async () => {
  const made = await pipes(['16384', '16385', '16386', 'base'])
  const [late, early, base] = [
    await archive('late', 'l'.repeat(300_000)),
    await archive('early', 'e'),
    await archive('PG_VERSION', '15\n'),
  ]
  const then = `cat ${early} > 16386.tar && cat ${late} > 16384.tar && cat ${base} > base.tar && echo {} > backup_manifest`
  const running = program(made, then)
  expect(await made.connect(running)).toBe(true)
  expect(await joined(made, running)).toEqual([
    'pg_tblspc/',
    'pg_tblspc/16386/',
    'pg_tblspc/16386/early',
    'pg_tblspc/16384/',
    'pg_tblspc/16384/late',
    'PG_VERSION',
    'backup_manifest',
  ])
  made.close()
  expect(pipeRooms()).toEqual([])
})

it('a program that was faster is noticed', async () => {
  const made = await pipes(['base'])
  mkdirSync(made.directory)
  writeFileSync(join(made.directory, 'base.tar'), 'it has begun')
  expect(await made.connect(new Promise(() => {}))).toBe(false)
})

it('of a program that fails its own reason is told, whenever it fails', async () => {
  const failure = new Error('the server said no')
  const half = await archive('half', 'h'.repeat(200_000))
  for (const then of ['false', `head -c 100000 ${half} > 16384.tar && false`]) {
    const made = await pipes(['16384', 'base'])
    const running = program(made, then)
    expect(await made.connect(running)).toBe(true)
    await expect(joined(made, running, failure)).rejects.toBe(failure)
  }
  const never = await pipes(['base'])
  const running = execa('false', { reject: false })
  expect(await never.connect(running)).toBe(true)
  await expect(joined(never, running as ReturnType<typeof program>, failure)).rejects.toBe(failure)
})

it('an archive that is cut off, and a tablespace that nobody knew of, are no backup', async () => {
  const [half, base] = [await archive('half', 'h'.repeat(200_000)), await archive('PG_VERSION', '15\n')]
  const cut = await pipes(['16384', 'base'])
  const cutting = program(cut, `head -c 100000 ${half} > 16384.tar && cat ${base} > base.tar`)
  await cut.connect(cutting)
  await expect(joined(cut, cutting)).rejects.toMatchObject({ code: 'tar_damaged' })
  const more = await pipes(['base'])
  const adding = program(more, `cat ${half} > 16999.tar && cat ${base} > base.tar && echo {} > backup_manifest`)
  await more.connect(adding)
  await expect(joined(more, adding)).rejects.toMatchObject({ code: 'tablespace_added' })
  expect(readdirSync(more.directory)).toContain('16999.tar')
})
