import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { planOutput, restoreToOutput } from '../../../src/operations/restore-output.js'
import { DEEP, makeTooDeep, tooDeepFile } from '../../helpers/too-deep.js'
import { type Directories, directories } from '../directories.js'

/** Runs a script in the innermost of the directories. */
function inDeepest(directory: string, script: string): void {
  const descend = 'cd "$1" && while cd -P ./"$2" 2>/dev/null; do :; done; eval "$3"'
  execFileSync('sh', ['-c', descend, 'sh', directory, DEEP, script])
}

/** Entries of every kind, deeper than any path. */
async function backedUp(): Promise<Directories> {
  const at = directories()
  makeTooDeep(at.uploads)
  tooDeepFile(at.uploads, 'deepest', 'content')
  inDeepest(
    at.uploads,
    'ln deepest hard; ln -s deepest link; ln link hard-link; mkfifo pipe; mkdir -m 2750 inner; : > inner/empty; chmod 640 deepest; chown -h 33:33 link deepest 2>/dev/null',
  )
  execFileSync('find', ['.', '-depth', '-execdir', 'touch', '-h', '-d', '@1000000000', '{}', ';'], { cwd: at.uploads })
  expect((await at.backUp()).warnings).toEqual([])
  return at
}

/** All entries with mode, owner, time, size, links and content, as programs see them that need no paths. */
function seen(directory: string): string {
  const script =
    'find . -depth -printf "%f %y %m %U %G %T@ %s %l %n\\n" -type f -execdir sha256sum {} \\; | grep -v "^\\. " | sed "s/ d \\(.*\\) [0-9]* *\\([0-9]*\\)$/ d \\1 \\2/"'
  const text = execFileSync('sh', ['-c', script], { cwd: directory, encoding: 'utf8', maxBuffer: 1 << 26 })
  expect(text).toContain('hard-link l')
  return text.split('\n').sort().join('\n')
}

const withoutDirectories = (text: string) => text.split('\n').filter(line => !/ d \d/.test(line))

it('brings back what lies deeper than any path, wherever to', async () => {
  const at = await backedUp()
  const was = seen(at.uploads)
  const [to, into] = [join(at.room, 'to'), join(at.room, 'into')]
  const made = await restore(at.context, at.journal, at.restoring({ kind: 'path', path: to, force: false }))
  expect(made.problems).toEqual([])
  expect(seen(join(to, at.uploads))).toBe(was)
  mkdirSync(join(into, at.uploads, DEEP, DEEP), { recursive: true })
  const target = { kind: 'path', path: into, force: false } as const
  for (const overwrite of ['if-changed', 'always'] as const) {
    const merged = await restore(at.context, at.journal, at.restoring(target, { merge: { overwrite } }))
    expect([overwrite, merged.problems]).toEqual([overwrite, []])
    expect(merged.merged?.replaced.length === 0).toBe(overwrite === 'if-changed')
  }
  // Directories that were there have the time of what was put into them.
  expect(withoutDirectories(seen(join(into, at.uploads)))).toEqual(withoutDirectories(was))
  tooDeepFile(at.uploads, 'deepest', 'changed since then')
  const inPlace = await restore(at.context, at.journal, at.restoring({ kind: 'in-place', source: at.source }))
  expect(inPlace.problems).toEqual([])
  expect(seen(at.uploads)).toBe(was)
})

it('writes such a file to standard output', async () => {
  const at = await backedUp()
  const { target: _, ...request } = at.restoring(
    { kind: 'path', path: '', force: false },
    { part: { include: ['deepest'], exclude: [] } },
  )
  const plan = await planOutput(at.context, request)
  const written: Uint8Array[] = []
  await restoreToOutput(at.context, at.journal, {
    request,
    plan,
    write: async bytes => void written.push(bytes),
  })
  expect(Buffer.concat(written).toString()).toBe('content')
})
