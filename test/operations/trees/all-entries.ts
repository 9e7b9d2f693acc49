import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import * as fc from 'fast-check'
import { readAttributes, writeAttributes } from '../../../src/system/attributes.js'
import { nameOf } from '../../../src/system/file-names.js'
import { makeSpecial } from '../../../src/system/special-files.js'
import { isRoot } from '../../sources/files/trees.js'

/** One thing to be done to a tree: to make something of some name, or to change what is there. */
export interface Edit {
  what: 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'device' | 'content' | 'attribute' | 'time' | 'remove'
  name: Buffer
  /** Chooses among what is there. */
  pick: number
  mode: number
  owner: { uid: number; gid: number }
  /** Nanoseconds since 1970. */
  mtime: bigint
  content: Uint8Array
  attributes: Record<string, string>
}

const acl = (bits: number) =>
  Buffer.from(
    `0200000001000600ffffffff02000${bits}00e803000004000400ffffffff10000${bits}00ffffffff20000000ffffffff`,
    'hex',
  ).toString('base64')
const value = fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes).toString('base64'))
const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex').toString('base64')

const attributes = fc
  .record(
    {
      'user.note': value,
      'user.ключ=%': value,
      'trusted.mark': value,
      'system.posix_acl_access': fc.nat({ max: 7 }).map(acl),
      'system.posix_acl_default': fc.nat({ max: 7 }).map(acl),
      'security.capability': fc.constant(capability),
    },
    { requiredKeys: [] },
  )
  .map(all => Object.fromEntries(Object.entries(all).filter(([name]) => isRoot || /^(user|system)\./.test(name))))

/** Names as any program may make them: other encodings, control characters, up to 255 bytes. */
const name = fc
  .oneof(
    { weight: 3, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 8 }) },
    fc
      .constantFrom('caf\xe9.txt', '\x83e\x83X\x83g.doc', 'r\xc3\xa9sum\xc3\xa9', 'a\nb', '\xed\xb3\xbf', '\\udce9')
      .map(text => Buffer.from(text, 'latin1')),
    fc.uint8Array({ minLength: 240, maxLength: 255 }),
  )
  .map(bytes => {
    const chosen = Buffer.from(bytes).map(byte => (byte === 0 || byte === 0x2f ? 0xe9 : byte))
    return chosen.every(byte => byte === 0x2e) ? Buffer.from('dots') : Buffer.from(chosen)
  })

const seconds = fc.oneof(
  fc.constantFrom(-1n, 0n, -2_000_000_000n, 4_000_000_000n),
  fc.bigInt({ min: -2_000_000_000n, max: 2_000_000_000n }),
)

const edit: fc.Arbitrary<Edit> = fc.record({
  what: fc.constantFrom<Edit['what'][]>(
    'file',
    'file',
    'file',
    'directory',
    'directory',
    'symlink',
    'hardlink',
    'fifo',
    'device',
    'content',
    'attribute',
    'attribute',
    'time',
    'remove',
  ),
  name,
  pick: fc.nat({ max: 1000 }),
  mode: fc.nat({ max: 0o7777 }).map(mode => (isRoot ? mode : mode | 0o700)),
  owner: fc.record({ uid: fc.constantFrom(0, 1000, 65534, 3_000_000_000), gid: fc.constantFrom(0, 1000, 2 ** 31) }),
  mtime: fc
    .tuple(seconds, fc.bigInt({ min: 0n, max: 999_999_999n }))
    .map(([whole, part]) => whole * 1_000_000_000n + part),
  content: fc.uint8Array({ maxLength: 2000 }),
  attributes,
})

const ofKind = (what: Edit['what']) =>
  edit.map(one => ({ ...one, what, attributes: { ...one.attributes, 'user.empty': '' } }))
const kinds: Edit['what'][] = [
  'directory',
  'file',
  'symlink',
  'hardlink',
  'fifo',
  'device',
  'content',
  'attribute',
  'time',
]

/** The edits before each backup of a chain. The first ones make something of every kind, so that one run has them all. */
export const chain: fc.Arbitrary<Edit[][]> = fc
  .tuple(
    fc.tuple(...kinds.map(ofKind)),
    fc.array(edit, { minLength: 2, maxLength: 6 }),
    fc.array(edit, { minLength: 2, maxLength: 6 }),
  )
  .map(steps => [...steps])

const slash = Buffer.from('/')
const below = (directory: Buffer, child: Buffer) => Buffer.concat([directory, slash, child])

/** Everything below a directory, itself first. */
function listed(root: Buffer): Buffer[] {
  const found = [root]
  if (!lstatSync(root).isDirectory()) return found
  const names = readdirSync(root, { encoding: 'buffer' }).sort(Buffer.compare)
  return [...found, ...names.flatMap(child => listed(below(root, child)))]
}

/** Does what an edit says, in a directory; what is not possible is left undone. */
export async function apply(root: string, edit: Edit): Promise<void> {
  const all = listed(Buffer.from(root))
  const chosen = (of: Buffer[]) => of[edit.pick % Math.max(of.length, 1)]
  const kind = (path: Buffer) => lstatSync(path)
  const path = below(chosen(all.filter(one => kind(one).isDirectory())) ?? Buffer.from(root), edit.name)
  const old = chosen(all.slice(1))
  const file = chosen(all.filter(one => kind(one).isFile()))
  const isFree = lstatSync(path, { throwIfNoEntry: false }) === undefined
  if (edit.what === 'content' && file !== undefined) writeFileSync(file, edit.content)
  else if (edit.what === 'remove' && old !== undefined) rmSync(old, { recursive: true })
  else if (edit.what === 'time' && old !== undefined) setTime(old, edit.mtime)
  else if (edit.what === 'attribute' && file !== undefined) setAttributes(file, edit.attributes)
  if (!isFree || ['content', 'remove', 'time', 'attribute'].includes(edit.what)) return
  if (edit.what === 'hardlink') {
    const first = chosen(all.filter(one => !kind(one).isDirectory()))
    if (first !== undefined) linkSync(first, path)
    return
  }
  if (edit.what === 'symlink') symlinkSync(edit.name, path)
  else if (edit.what === 'file') writeFileSync(path, edit.content)
  else if (edit.what === 'directory') mkdirSync(path)
  else if (edit.what === 'fifo') await special(root, path, 'fifo', undefined)
  else if (isRoot) await special(root, path, 'character-device', { major: 1, minor: 3 })
  else return
  finish(path, edit)
}

async function special(root: string, path: Buffer, type: string, device: { major: number; minor: number } | undefined) {
  await makeSpecial(root, { path: nameOf(path), type, device })
}

function finish(path: Buffer, { what, owner, mode, attributes, mtime }: Edit): void {
  if (isRoot) lchownSync(path, owner.uid, owner.gid)
  if (what === 'file' || what === 'directory') {
    const fit = Object.entries(attributes).filter(([key]) =>
      what === 'file' ? !key.endsWith('_default') : key !== 'security.capability',
    )
    setAttributes(path, Object.fromEntries(fit))
  }
  if (what !== 'symlink') chmodSync(path, mode)
  const micros = Number(mtime / 1000n) / 1e6
  lutimesSync(path, String(micros), String(micros))
}

/** To the nanosecond, which Node cannot do. */
function setTime(path: Buffer, mtime: bigint): void {
  const whole = mtime / 1_000_000_000n - (mtime < 0n && mtime % 1_000_000_000n !== 0n ? 1n : 0n)
  const part = String(mtime - whole * 1_000_000_000n).padStart(9, '0')
  // A program's arguments are text to Node; xargs takes bytes.
  execFileSync('xargs', ['-0', 'touch', '-h', '-m', '-d', `@${whole}.${part}`, '--'], { input: path })
}

function setAttributes(path: Buffer, attributes: Record<string, string>): void {
  const fit = lstatSync(path).isFile()
    ? Object.entries(attributes).filter(([key]) => !key.endsWith('_default'))
    : Object.entries(attributes)
  const fd = openSync(path, constants.O_RDONLY)
  const problems = writeAttributes(fd, Object.fromEntries(fit))
  closeSync(fd)
  if (problems.length > 0) throw new Error(problems.join())
}

/** Everything there is to know of a tree, by path (latin1): times in whole microseconds. */
export function look(root: string): Record<string, string> {
  const result: Record<string, string> = {}
  const firstNames = new Map<bigint, string>()
  for (const path of listed(Buffer.from(root))) {
    const stats = lstatSync(path, { bigint: true })
    const shown = path.toString('latin1').slice(root.length)
    const micros = stats.mtimeNs >= 0n ? stats.mtimeNs / 1000n : -((-stats.mtimeNs + 999n) / 1000n)
    const { mode, uid, gid, rdev, ino, nlink } = stats
    const first = stats.isDirectory() || nlink === 1n ? '' : (firstNames.get(ino) ?? shown)
    if (!stats.isDirectory()) firstNames.set(ino, first === '' ? shown : first)
    const what = stats.isSymbolicLink()
      ? readlinkSync(path, { encoding: 'buffer' }).toString('latin1')
      : contentOf(path, stats.isFile(), stats.isDirectory())
    result[shown] = [mode.toString(8), uid, gid, micros, rdev, first, what].join(' ')
  }
  return result
}

function contentOf(path: Buffer, isFile: boolean, isDirectory: boolean): string {
  if (!isFile && !isDirectory) return ''
  const fd = openSync(path, constants.O_RDONLY)
  try {
    const attributes = Object.entries(readAttributes(fd, () => {}) ?? {}).sort()
    const digest = isFile ? createHash('sha256').update(readFileSync(fd)).digest('hex').slice(0, 16) : ''
    return `${digest} ${JSON.stringify(attributes)}`
  } finally {
    closeSync(fd)
  }
}
