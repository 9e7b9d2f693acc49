// Recovers one backup of this repository without nexus-backup: needs Node 18 or later and the `zstd` program.
//
//   node REPO/recover.mjs REPO/SOURCE/ID OUTPUT [--key-file FILE] [--passphrase-file FILE] [--epoch-key-file FILE] [--untrusted]
//   node REPO/recover.mjs --wal REPO/SOURCE/wal/SYSTEM FILE PATH [--key-file FILE]     (a restore_command, see the end)
//
// It reads your key: before you run it, compare its SHA-256 with the one you keep with the key (sha256sum recover.mjs).
//
// 1. Follows the backup's parents to the full it rests on, reading each manifest.json.
// 2. Compares every file of each of them with its SHA256SUMS. Encrypted ones (files end in .enc) are opened with the key
//    file, the passphrase (asked for when no file is given) or gpg, whichever REPO/keys has a recipient for; of AWS KMS
//    it says what to ask, and takes the answer in --epoch-key-file. Nothing secret is written anywhere. The formats are in nexus-backup-repository(5).
//    Everybody who can write here can encrypt for those keys. So each backup must be signed by a host that the keys vouch
//    for, with a key they do not distrust; one that is not, or is not encrypted though the repository is, is recovered
//    only with --untrusted.
// 3. Unpacks them with zstd, newest first, and writes each block that no newer one has to its place in OUTPUT.partial.
// 4. Compares the block digests with the manifest's image digest, and renames OUTPUT.partial to OUTPUT.
//
// A database: OUTPUT is that file. A tree (a PostgreSQL cluster, directories): OUTPUT is a directory, mode 0700, with
// everything in it: links, pipes, modes, times, and owners by number and devices when root runs this. Extended attributes
// and ACLs are set with the `setfattr` program where there is one. Tablespaces of a cluster become plain
// directories in pg_tblspc, and what makes its server a standby or ends its recovery somewhere is taken out and named:
// standby.signal, recovery.signal, such settings in postgresql.auto.conf. Nothing else is written, and what exists is never
// overwritten. What is read is not trusted: every number is bounded, and no path leads out of OUTPUT.
//
// edition 5
import { spawn } from 'node:child_process'
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  randomBytes,
  scryptSync,
  verify,
} from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, lchown, link, lstat, lutimes, mkdir, open, readdir, rename, symlink, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough, Readable, Writable } from 'node:stream'
import { parseArgs } from 'node:util'

const ID = /^\d{8}T\d{6}\.\d{3}Z-(full|diff|incr)-[0-9a-f]{4}$/
const MiB = 1024 * 1024
const MOST_ENTRIES = 50_000_000

function fail(message) {
  throw new Error(message)
}

function must(condition, message) {
  if (!condition) fail(message)
}

const isCount = (value, most = Number.MAX_SAFE_INTEGER) => Number.isSafeInteger(value) && value >= 0 && value <= most

// ---- 1. The chain ----

async function readChain(directory) {
  const chain = []
  for (let next = directory; ; ) {
    const member = await readMember(next)
    must(!chain.some(({ id }) => id === member.id), `the parents of ${member.id} go round in a circle`)
    chain.unshift(member)
    if (member.manifest.type === 'full') return chain
    const { parent } = member.manifest
    must(typeof parent === 'string' && ID.test(parent), `${member.id} needs a parent but names none`)
    next = join(dirname(directory), parent)
    const found = await lstat(next).catch(() => undefined)
    must(found?.isDirectory(), `${member.id} needs its parent ${parent}, which is missing: ${next}`)
  }
}

async function readMember(directory) {
  const id = basename(directory)
  must(ID.test(id), `${directory} is not the directory of a backup: its name is no id`)
  const sums = parseSums((await readSmall(join(directory, 'SHA256SUMS'), MiB)).toString(), id)
  const bytes = await readSmall(join(directory, 'manifest.json'), 64 * MiB)
  must(
    createHash('sha256').update(bytes).digest('hex') === sums.get('manifest.json'),
    `${id}: manifest.json differs from SHA256SUMS`,
  )
  const manifest = JSON.parse(bytes.toString())
  must(manifest?.format === 1, `${id}: its format is not 1; use the recover.mjs of a newer nexus-backup`)
  must(manifest.id === id && manifest.type === ID.exec(id)[1], `${id}: its manifest is another backup's`)
  const isPart = part => typeof part?.name === 'string' && sums.has(part.name)
  must(Array.isArray(manifest.parts) && manifest.parts.every(isPart), `${id}: parts of it are not in SHA256SUMS`)
  must(Array.isArray(manifest.files) && manifest.files.every(isFile), `${id}: its list of files is damaged`)
  const { tree } = manifest
  must(tree === undefined || isTree(tree), `${id}: what it says of its tree is damaged`)
  return { id, directory, manifest, sums }
}

function isTree(tree) {
  return isCount(tree?.block_size, 16 * MiB) && tree.block_size >= 512 && isCount(tree.entries, MOST_ENTRIES)
}

function isInnerPath(path) {
  const safe = name => name !== '' && name !== '.' && name !== '..' && !name.includes('\0')
  return typeof path === 'string' && path.split('/').every(safe)
}

function isFile(file) {
  return isInnerPath(file?.path) && isCount(file.size) && isCount(file.block_size, 16 * MiB) && file.block_size >= 512
}

function parseSums(text, id) {
  const sums = new Map()
  for (const line of text.split('\n').slice(0, -1)) {
    const [, hex, name] = /^([0-9a-f]{64}) {2}([^/]+)$/.exec(line) ?? []
    must(name && name !== '.' && name !== '..', `${id}: SHA256SUMS is damaged`)
    sums.set(name, hex)
  }
  return sums
}

// ---- 2. The bytes ----

function openFile(path) {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
}

async function readSmall(path, limit) {
  const file = await openFile(path)
  try {
    const { size } = await file.stat()
    must(size <= limit, `${path} is larger than it can be`)
    return await file.readFile()
  } finally {
    await file.close()
  }
}

async function checkBytes({ id, directory, sums }) {
  for (const [name, expected] of sums) {
    const file = await openFile(join(directory, name))
    const hash = createHash('sha256')
    for await (const chunk of file.createReadStream({ highWaterMark: MiB })) hash.update(chunk)
    must(hash.digest('hex') === expected, `${id}: ${name} is damaged, its SHA-256 differs from SHA256SUMS`)
  }
}

/**
 * A file of a backup, opened where it is sealed: its size and bytes are those before sealing. `fd` only where it is not,
 * for zstd to read by itself.
 */
async function openPart({ id, directory, key }, name) {
  const file = await openFile(join(directory, name))
  const { size } = await file.stat()
  const close = () => file.close().catch(() => {})
  if (key === undefined) {
    const chunks = () => file.createReadStream({ highWaterMark: MiB, autoClose: false })[Symbol.asyncIterator]()
    return { size, fd: file.fd, chunks, close }
  }
  const what = `${id}: ${name}`
  const sealed = await openSealed(file, size, partKey(key, id, name), `nexus-backup 1 part ${id}/${name}`, what)
  return { ...sealed, fd: undefined, close }
}

// ---- 2a. What is sealed ----

/** A key by HKDF-SHA-256; what it is for keeps every two apart. */
const derived = (secret, salt, purpose) =>
  Buffer.from(hkdfSync('sha256', secret, salt, `nexus-backup 1 ${purpose}`, 32))
const partKey = (key, id, name) => derived(key, id, `part ${name}`)

/** AES-256-GCM, the tag at the end; undefined when it does not open. */
function decrypted(key, nonce, associated, sealed) {
  if (sealed.length < 16) return undefined
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
    decipher.setAAD(Buffer.from(associated))
    decipher.setAuthTag(sealed.subarray(-16))
    return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()])
  } catch {
    return undefined
  }
}

/** A message that was encrypted under a key of its own. */
const unboxed = (key, associated, sealed) => decrypted(key, Buffer.alloc(12), associated, sealed)

/** A sealed file: a header of 16 bytes, then frames, each with its number and whether it is the last bound to it. */
async function openSealed(file, size, key, context, what) {
  const header = Buffer.alloc(16)
  await file.read(header, 0, 16, 0)
  const frameBytes = header.readUInt32LE(8)
  const isOurs = header.toString('latin1', 0, 8) === 'NXBKSEA1' && header.readUInt32LE(12) === 0
  must(isOurs && frameBytes >= 16 && frameBytes <= 16 * MiB, `${what} is not a sealed file`)
  const stride = frameBytes + 16
  const frames = Math.ceil((size - 16) / stride)
  const plain = size - 16 - 16 * frames
  must(frames > 0 && plain >= 0, `${what} is cut off`)
  async function* chunks() {
    const buffer = Buffer.alloc(stride)
    for (let number = 0; number < frames; number += 1) {
      const { bytesRead } = await file.read(buffer, 0, stride, 16 + number * stride)
      const nonce = Buffer.alloc(12)
      nonce.writeBigUInt64BE(BigInt(number), 3)
      nonce[11] = number === frames - 1 ? 1 : 0
      const bound = Buffer.concat([header, Buffer.from(context)])
      const bytes = decrypted(key, nonce, bound, buffer.subarray(0, bytesRead))
      must(bytes, `${what} cannot be opened: sealed frame ${number} was changed or does not belong there`)
      if (bytes.length > 0) yield bytes
    }
  }
  return { size: plain, chunks }
}

const rawKeyHead = { private: '302e020100300506032b656e04220420', public: '302a300506032b656e032100' }
const privateKeyOf = raw =>
  createPrivateKey({ key: Buffer.concat([Buffer.from(rawKeyHead.private, 'hex'), raw]), format: 'der', type: 'pkcs8' })
const publicHalf = raw => createPublicKey(privateKeyOf(raw)).export({ format: 'der', type: 'spki' }).subarray(-32)
/** The public half of an ed25519 key. */
function signingHalf(raw) {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), raw])
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
  return key.export({ format: 'der', type: 'spki' }).subarray(-32)
}

/** HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: the one message, or undefined. */
function hpkeOpen(rawPrivate, info, associated, sealed) {
  if (sealed.length < 48) return undefined
  const enc = sealed.subarray(0, 32)
  const kem = Buffer.from('4b454d0020', 'hex')
  const suite = Buffer.from('48504b45002000010002', 'hex')
  const hmac = (key, ...parts) => createHmac('sha256', key).update(Buffer.concat(parts)).digest()
  const text = value => Buffer.from(value)
  const extract = (id, salt, label, ikm) => hmac(salt, text('HPKE-v1'), id, text(label), ikm)
  const expand = (id, prk, label, context, length) =>
    hmac(prk, Buffer.from([0, length]), text('HPKE-v1'), id, text(label), context, Buffer.from([1])).subarray(0, length)
  let shared
  try {
    const publicKey = createPublicKey({
      key: Buffer.concat([Buffer.from(rawKeyHead.public, 'hex'), enc]),
      format: 'der',
      type: 'spki',
    })
    shared = diffieHellman({ privateKey: privateKeyOf(rawPrivate), publicKey })
  } catch {
    return undefined
  }
  const none = Buffer.alloc(0)
  const agreed = extract(kem, none, 'eae_prk', shared)
  const secret = expand(kem, agreed, 'shared_secret', Buffer.concat([enc, publicHalf(rawPrivate)]), 32)
  const schedule = Buffer.concat([
    Buffer.from([0]),
    extract(suite, none, 'psk_id_hash', none),
    extract(suite, none, 'info_hash', text(info)),
  ])
  const prk = extract(suite, secret, 'secret', none)
  const key = expand(suite, prk, 'key', schedule, 32)
  return decrypted(key, expand(suite, prk, 'base_nonce', schedule, 12), associated, sealed.subarray(32))
}

/** JSON with keys in order and no space: what MACs are made over. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([name, inner]) => `${JSON.stringify(name)}:${canonical(inner)}`).join(',')}}`
}

/** Opens the manifests of a chain and finds the key of each member's files. */
async function openMembers(chain, means) {
  const sealed = chain.filter(({ manifest }) => manifest.encryption !== undefined)
  const source = dirname(chain[0].directory)
  const repository = dirname(source)
  const keys = await openKeys(repository, means)
  for (const member of sealed) {
    const { id, manifest } = member
    const { mac, signature, ...rest } = manifest.encryption
    must(rest.format === 1 && isEpoch(rest.epoch), `${id}: how it is encrypted is not understood`)
    const opening = derived(await keys.secretOf(rest.epoch), '', 'epoch sealing')
    const key = hpkeOpen(opening, 'nexus-backup 1 data key', id, Buffer.from(String(rest.data_key), 'base64'))
    must(key?.length === 32, `${id}: its data key was not sealed for it, or was changed`)
    const text = `nexus-backup 1 manifest mac ${canonical({ ...manifest, encryption: rest })}`
    const expected = createHmac('sha256', derived(key, id, 'mac'))
      .update(text)
      .digest('hex')
    must(expected === mac, `${id}: its manifest is not what was written: its MAC does not hold`)
    const inside = unboxed(
      derived(key, id, 'manifest'),
      `nexus-backup 1 manifest ${id}`,
      Buffer.from(rest.sealed, 'base64'),
    )
    must(inside, `${id}: what is sealed in its manifest does not open`)
    // As it was signed, before what is sealed in it takes its place.
    member.stored = { ...manifest }
    const { facts, ...opened } = JSON.parse(inside.toString())
    Object.assign(manifest, opened, { facts: { ...manifest.facts, ...facts } })
    member.key = key
  }
  const trust = await trustIn(repository, basename(source), keys)
  for (const { id, manifest, stored } of chain) {
    const problem = await backupProblem(trust, stored ?? manifest, means)
    tellUntrusted(problem === undefined ? undefined : `${id} ${problem}`, means)
  }
}

// ---- 2b. Whose it is ----

/** Refuses what is not ours; with --untrusted it is only said. */
function tellUntrusted(problem, { untrusted }) {
  if (problem === undefined) return
  must(untrusted === true, `${problem}; look for another copy, or take it all the same with --untrusted`)
  process.stderr.write(`recover: ${problem}; it is taken because --untrusted says so\n`)
}

const sha256Hex = value => createHash('sha256').update(value).digest('hex')
const isOneText = text => Buffer.from(String(text), 'base64').toString('base64') === text

/** Whether a raw ed25519 key has signed a text. */
function isSigned(rawKey, text, signature) {
  const head = Buffer.from('302a300506032b6570032100', 'hex')
  try {
    const key = createPublicKey({ key: Buffer.concat([head, rawKey]), format: 'der', type: 'spki' })
    return isOneText(signature) && verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}

const signingKeyOf = ({ signing_key: text }) => Buffer.from(String(text), 'base64')

function epochText({ signature: _own, previous_signature: _before, sha256: _digest, ...rest }) {
  return `nexus-backup 1 epoch ${canonical(rest)}`
}

/** Whether an epoch was made by who held the one before it. */
const follows = (epoch, before) =>
  epoch.previous === before.id && isSigned(signingKeyOf(before), epochText(epoch), epoch.previous_signature)

/** The document of a host's key; undefined where it is not what it must be. */
async function readHost(repository, signer) {
  if (!/^[0-9a-f]{16}$/.test(String(signer))) return undefined
  const host = await readJson(join(repository, 'keys', 'hosts', `${signer}.json`))
  return host?.id === signer && sha256Hex(signingKeyOf(host)).startsWith(signer) ? host : undefined
}

/** Whether an epoch has signed what it says of a host's key, whose document this is. */
function isWordOf(epoch, host, purpose, { signature, sha256: _digest, ...rest }) {
  const text = `nexus-backup 1 ${purpose} ${canonical({ ...rest, signing_key: host.signing_key })}`
  return rest.id === host.id && rest.epoch === epoch.id && isSigned(signingKeyOf(epoch), text, signature)
}

/** Whether one of these epochs vouches for a host's key. */
async function hasVouch(repository, host, epochs) {
  for (const epoch of epochs) {
    const word = await readJson(join(repository, 'keys', 'hosts', host.id, `${epoch.id}.json`))
    if (word?.host === host.host && isWordOf(epoch, host, 'host', word)) return true
  }
  return false
}

/** What these epochs say against a host's key, the latest of several; undefined where they say nothing. */
async function readDistrust(repository, host, epochs) {
  for (const epoch of [...epochs].reverse()) {
    const word = await readJson(join(repository, 'keys', 'hosts', host.id, `distrusted-${epoch.id}.json`))
    if (word && isWordOf(epoch, host, 'distrust', word)) return word
  }
  // The word was taken away, and with it what it spared; a later epoch tells that it was given.
  const since = epochs.flatMap(({ distrusted }) => distrusted?.[host.id] ?? []).pop()
  return since === undefined ? undefined : { distrusted: since, spared: '' }
}

const isBelieved = async (repository, host, epochs) =>
  (await hasVouch(repository, host, epochs)) && (await readDistrust(repository, host, epochs)) === undefined

/** Whether a word against a key names a manifest, as it lies in the repository, among those that count all the same. */
function isSpared({ spared }, manifest) {
  const digest = sha256Hex(canonical(manifest)).slice(0, 32)
  const all = Buffer.from(String(spared), 'base64').toString('hex')
  return (all.match(/.{32}/g) ?? []).includes(digest)
}

/**
 * The lines of epochs whose word counts for a source. Where a key file or a passphrase has opened one, and none of the
 * repository's own, that line alone: nobody else can wrap anything for these. Else the repository's own, and those that the copies in here are attested to come
 * from; who can replace every file in keys can replace these too.
 */
async function trustIn(repository, source, keys) {
  const directory = join(repository, 'keys')
  const { epochs } = keys
  const byId = new Map(epochs.map(epoch => [epoch.id, epoch]))
  const own = []
  const first = await readJson(join(directory, 'first.json'))
  for (let next = byId.get(first?.epoch); next !== undefined && !own.includes(next); ) {
    if (own.length > 0 && !follows(next, own[own.length - 1])) break
    own.push(next)
    next = byId.get((await readJson(join(directory, next.id, 'next.json')))?.epoch)
  }
  const lineOf = (begun, belongs) => {
    const line = [...begun]
    for (const known of line) line.push(...epochs.filter(one => !line.includes(one) && belongs(one, known)))
    return line.sort((a, b) => (a.id < b.id ? -1 : 1))
  }
  const proven = await keys.proven(own[own.length - 1])
  // One key may open the keys of several repositories: what is proven and not its own counts here only as a copy does.
  const ownProven = proven.filter(one => own.includes(one))
  if (proven.length > 0 && ownProven.length === 0) {
    return { repository, source, own, lines: [lineOf(proven, follows)] }
  }
  const lines = own.length > 0 ? [proven.length > 0 ? lineOf(ownProven, follows) : own] : []
  const attested = await readAttestations(join(directory, 'copies', source), repository, source)
  let word
  for (const one of attested) {
    const host = await readHost(repository, sha256Hex(signingKeyOf(one)).slice(0, 16))
    word ??= one.signing_key
    const counts = own.length > 0 ? host && (await isBelieved(repository, host, own)) : word === one.signing_key
    const epoch = byId.get(one.line?.epoch)
    if (counts && epoch?.signing_key === one.line.signing_key)
      lines.push(lineOf([epoch], (a, b) => follows(a, b) || follows(b, a)))
  }
  return { repository, source, own, lines }
}

/** What is attested of a source's copies, in the order in which it was written. */
async function readAttestations(directory, repository, source) {
  const names = await readdir(directory).catch(() => [])
  const numbers = names.flatMap(name => /^([1-9]\d{0,2})\.json$/.exec(name)?.[1] ?? []).map(Number)
  const id = (await readJson(join(repository, 'nexus-backup.json')))?.id
  const found = []
  for (const number of numbers.sort((a, b) => a - b)) {
    const one = await readJson(join(directory, `${number}.json`))
    if (one?.source !== source || one.repository !== id) continue
    const { signature, sha256: _digest, ...rest } = one
    if (isSigned(signingKeyOf(one), `nexus-backup 1 copies ${canonical(rest)}`, signature)) found.push(one)
  }
  return found
}

/**
 * Why a signature does not count, as the rest of a sentence, and whether nobody vouches for it; undefined where it counts.
 * A host signs with one key wherever it writes: what is sealed to the keys of another repository was made for that one.
 * @param epoch what it is sealed to, where it is
 * @param manifest what was signed, where it is a backup: a word against the key may spare it
 */
async function signerProblem({ repository, lines }, { signer, epoch, text, signature, manifest }) {
  const host = await readHost(repository, signer)
  const bad = problem => ({ problem, isStranger: false })
  if (host === undefined) return bad(`was signed with the key ${JSON.stringify(signer)}, which nobody knows`)
  if (!isSigned(signingKeyOf(host), text, signature)) return bad('is badly signed: its signature does not hold')
  let against
  let isOfAnother = false
  for (const line of lines) {
    if (!(await hasVouch(repository, host, line))) continue
    const word = await readDistrust(repository, host, line)
    const isSealedTo = epoch === undefined || line.some(({ id }) => id === epoch)
    if (word === undefined && isSealedTo) return undefined
    if (word === undefined) isOfAnother = true
    else against ??= word
  }
  if (against !== undefined && manifest !== undefined && isSpared(against, manifest)) return undefined
  const who = `was signed by ${JSON.stringify(host.host)} with the key ${signer}`
  if (isOfAnother) return { problem: `${who}, for another repository: it is sealed to ${epoch}`, isStranger: true }
  const why = against === undefined ? 'for which nobody has vouched' : `which is distrusted since ${against.distrusted}`
  return { problem: `${who}, ${why}`, isStranger: true }
}

/** @param stored the manifest as it lies in the repository */
async function backupProblem(trust, stored, means) {
  const { encryption, ...plain } = stored
  if (encryption !== undefined) {
    const { signature, ...rest } = encryption
    const text = `nexus-backup 1 manifest signature ${canonical({ ...plain, encryption: rest })}`
    const { signer, epoch } = encryption
    return (await signerProblem(trust, { signer, epoch, text, signature, manifest: stored }))?.problem
  }
  const [first] = trust.own
  const isKeyGiven = ['key-file', 'passphrase-file', 'epoch-key-file'].some(name => means[name] !== undefined)
  if (first === undefined) return isKeyGiven ? 'is not encrypted, though a key is given' : undefined
  const isEarlier = Date.parse(plain.captured_at) < Date.parse(first.created)
  const isListed = first.plain === undefined || plain.sequence <= (first.plain[trust.source] ?? 0)
  return isEarlier && isListed ? undefined : 'is not encrypted, though the backups of its repository are'
}

/** The same of a file of the log; what is not signed must be from before files were signed. */
async function walProblem(trust, header) {
  const { signature, ...rest } = header
  const unsigned = { problem: 'is signed by nobody, though the repository signs what it archives', isStranger: true }
  const found =
    header.signer === undefined
      ? unsigned
      : await signerProblem(trust, {
          signer: header.signer,
          epoch: header.encryption?.epoch,
          text: `nexus-backup 1 wal signature ${canonical(rest)}`,
          signature,
        })
  if (found?.isStranger !== true) return found?.problem
  const counting = trust.lines.filter(line => line.length > 0)
  const { encryption } = header
  if (encryption === undefined && counting.length === 0) return undefined
  const lines = counting.filter(line => encryption === undefined || line.some(({ id }) => id === encryption.epoch))
  return lines.some(line => isFromBefore(line, trust.source, header)) ? undefined : found.problem
}

function isFromBefore(line, source, { name, system_identifier: system, encryption, archived_at: at }) {
  const isHistory = name.endsWith('.history')
  const position = isHistory ? '' : name.slice(8, 24)
  const epoch = line.find(({ unsigned_wal: reach }) => reach !== undefined)
  if (epoch === undefined) return encryption !== undefined || isHistory || Date.parse(at) < Date.parse(line[0].created)
  const reach = epoch.unsigned_wal[`${source}/${system}`]
  if (reach === undefined || name.slice(0, 8) > reach.slice(0, 8)) return false
  // An archiver that began before the epoch did went on as it began.
  const isUnderWay = Date.parse(at) < Date.parse(epoch.created) + 3_600_000
  const logOf = text => Number.parseInt(text.slice(0, 8), 16)
  return position <= reach.slice(8) || (isUnderWay && logOf(position) <= logOf(reach.slice(8)) + 1)
}

// ---- 2c. The keys ----

const isEpoch = id => typeof id === 'string' && /^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}$/.test(id)

/** The secrets of a repository's epochs: through a recipient, or through the epoch that came after. */
async function openKeys(repository, means) {
  const directory = join(repository, 'keys')
  const epochs = []
  for (const id of (await readdir(directory).catch(() => [])).filter(isEpoch).sort()) {
    const epoch = await readJson(join(directory, id, 'epoch.json'))
    if (epoch?.id === id && isSigned(signingKeyOf(epoch), epochText(epoch), epoch.signature)) epochs.push(epoch)
  }
  /** Epochs that a key file or a passphrase opened, by themselves or through one that came later. */
  const proven = new Set()
  const secrets = new Map()
  const tools = openers(means)
  const given = await readEpochKeys(means['epoch-key-file'])
  const fits = (secret, epoch) =>
    publicHalf(derived(secret, '', 'epoch sealing')).toString('base64') === epoch.sealing_key &&
    signingHalf(derived(secret, '', 'epoch signing')).toString('base64') === epoch.signing_key
  async function find(epoch, seen) {
    must(epoch, 'an epoch of the keys is missing: nothing sealed to it can be opened')
    if (secrets.has(epoch.id)) return secrets.get(epoch.id)
    let secret = given.find(key => fits(key, epoch))
    const found = secret === undefined ? await tools.open(join(directory, epoch.id, 'recipients'), epoch.id) : undefined
    secret ??= found?.secret
    let isProven = found?.isSymmetric === true
    // An interrupted rotation and the one run again both follow the same.
    for (const next of epochs.filter(({ id, previous }) => previous === epoch.id && !seen.includes(id))) {
      if (secret !== undefined) break
      const later = await find(next, [...seen, epoch.id])
      const sealed = Buffer.from(String(next.previous_secret), 'base64')
      secret = later && hpkeOpen(derived(later, '', 'epoch sealing'), 'nexus-backup 1 epoch secret', next.id, sealed)
      isProven = proven.has(next)
    }
    if (secret === undefined) return undefined
    must(fits(secret, epoch), `keys/${epoch.id}: its public half does not belong to the private one`)
    secrets.set(epoch.id, secret)
    if (isProven) proven.add(epoch)
    return secret
  }
  return {
    epochs,
    /**
     * The epochs that are those of who made the key file or knows the passphrase, and all before them: an epoch's document
     * does not bind the one before, but the secret in it does.
     * @param head the repository's own, tried where what was opened may be of another one
     */
    async proven(head) {
      const isTried = means['key-file'] !== undefined || (proven.size > 0 && means['passphrase-file'] !== undefined)
      if (head !== undefined && !proven.has(head) && isTried) await find(head, [])
      for (const epoch of proven) {
        const before = epochs.find(({ id }) => id === epoch.previous)
        if (before === undefined || proven.has(before)) continue
        const opening = derived(secrets.get(epoch.id), '', 'epoch sealing')
        const sealed = Buffer.from(String(epoch.previous_secret), 'base64')
        const secret = hpkeOpen(opening, 'nexus-backup 1 epoch secret', epoch.id, sealed)
        if (secret === undefined || !fits(secret, before)) continue
        secrets.set(before.id, secret)
        proven.add(before)
      }
      return epochs.filter(epoch => proven.has(epoch))
    },
    async secretOf(id) {
      const secret = await find(
        epochs.find(epoch => epoch.id === id),
        [],
      )
      if (secret !== undefined) return secret
      const unfit = given.length > 0 ? [`${means['epoch-key-file']} holds no key of it`] : []
      return fail(`no key at hand opens the backup: ${[...unfit, ...tools.problems()].join('; ')}${tools.commands()}`)
    },
  }
}

/** Secrets of epochs as AWS KMS gives them back: 32 bytes in base64, one a line. */
async function readEpochKeys(path) {
  if (path === undefined) return []
  const lines = (await readSmall(path, MiB)).toString('latin1').split('\n')
  const keys = lines.filter(line => line.trim() !== '').map(line => Buffer.from(line.trim(), 'base64'))
  must(keys.length > 0 && keys.every(key => key.length === 32), `${path} is not what aws kms decrypt prints`)
  return keys
}

/** What a shell takes as one word. */
const quoted = text => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** How to have AWS KMS open a recipient: the answer never stands in a command line, and only its owner reads it. */
function kmsCommands(path, epoch, key) {
  const region = /^arn:[^:]+:kms:([a-z0-9-]+):/.exec(key)?.[1]
  const where = region === undefined ? '' : ` --region ${region}`
  const blob =
    'process.stdout.write(Buffer.from(JSON.parse(require("fs").readFileSync(process.argv[1])).secret, "base64"))'
  return `
To have AWS KMS open it, as somebody who may kms:Decrypt with that key:
  umask 077
  node -e '${blob}' ${quoted(path)} > epoch-blob
  aws kms decrypt${where} --key-id ${quoted(key)} --encryption-context nexus-backup-epoch=${epoch} --ciphertext-blob fileb://epoch-blob --query Plaintext --output text > epoch-key
Then run this again with: --epoch-key-file epoch-key
`
}

async function readJson(path) {
  try {
    return JSON.parse((await readSmall(path, MiB)).toString())
  } catch {
    return undefined
  }
}

/** Everything that may open what is wrapped for a recipient. */
function openers(means) {
  const problems = new Set()
  const commands = new Set()
  const kinds = { 'key-file': byKeyFile, passphrase: byPassphrase, gpg: byGpg }
  let typed

  async function byKeyFile({ id, parameters, secret }, bound) {
    if (means['key-file'] === undefined) return undefined
    const text = (await readSmall(means['key-file'], MiB)).toString()
    const encoded = /^NEXUS-BACKUP-KEY-1-([A-Za-z0-9_-]{43})\s*$/m.exec(text)?.[1]
    must(encoded, `${means['key-file']} is not a key file of nexus-backup`)
    const key = Buffer.from(encoded, 'base64url')
    if (id !== `key-${derived(key, '', 'name').toString('hex', 0, 8)}`) return undefined
    return unboxed(derived(key, Buffer.from(parameters.salt, 'base64'), 'key file'), bound, secret)
  }

  async function byPassphrase({ parameters, secret }, bound) {
    const { log_n: logN, r, p, salt } = parameters
    const bearable = isCount(logN, 24) && isCount(r, 32) && isCount(p, 8) && 128 * r * 2 ** logN <= 1024 * MiB
    must(bearable && logN > 0 && r > 0 && p > 0, 'a recipient asks for impossible work of scrypt')
    typed ??= await readPassphrase(means['passphrase-file'])
    if (typed === undefined) return undefined
    const cost = { N: 2 ** logN, r, p, maxmem: 2048 * MiB }
    return unboxed(scryptSync(typed.normalize('NFC'), Buffer.from(salt, 'base64'), 32, cost), bound, secret)
  }

  async function byGpg({ secret }, bound) {
    const text = await runGpg(secret)
    const [, encoded] = text?.split(`${bound} `) ?? []
    return encoded === undefined ? undefined : Buffer.from(encoded, 'base64')
  }

  return {
    problems: () => (problems.size === 0 ? ['it has no recipients'] : [...problems]),
    commands: () => [...commands].join(''),
    async open(directory, epoch) {
      const names = await readdir(directory).catch(() => [])
      const order = name => (name.startsWith('key-') ? 0 : name.startsWith('gpg-') ? 1 : 2)
      const own = names.filter(name => /^[a-z]+-[0-9a-f]{8,16}\.json$/.test(name))
      for (const name of own.sort((a, b) => order(a) - order(b))) {
        const wrapped = await readJson(join(directory, name))
        const open = kinds[wrapped?.kind]
        if (wrapped?.epoch !== epoch || `${wrapped.id}.json` !== name) continue
        if (open === undefined) {
          const key = String(wrapped.parameters?.key ?? '').replace(/\p{Cc}/gu, '')
          problems.add(`${wrapped.id} (${wrapped.kind}) is not at hand`)
          if (wrapped.kind === 'aws-kms') commands.add(kmsCommands(join(directory, name), epoch, key))
          continue
        }
        const recipient = { ...wrapped, secret: Buffer.from(wrapped.secret, 'base64') }
        const secret = await open(recipient, `nexus-backup 1 wrapped ${epoch} ${wrapped.id}`)
        // Whoever has the public half of a GPG key can wrap something for it, and so can who may use one in KMS.
        const isSymmetric = wrapped.kind === 'key-file' || wrapped.kind === 'passphrase'
        if (secret?.length === 32) return { secret, isSymmetric }
        problems.add(`${wrapped.id} (${wrapped.kind}) did not open`)
      }
      return undefined
    },
  }
}

async function readPassphrase(path) {
  if (path !== undefined) return (await readSmall(path, MiB)).toString().replace(/\r?\n$/, '')
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined
  process.stderr.write('Passphrase of the repository: ')
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true })
  const answer = await new Promise(done => lines.question('', done))
  lines.close()
  process.stderr.write('\n')
  return answer
}

/** What gpg makes of a message: its agent asks for the passphrase of the key by itself. */
function runGpg(message) {
  const quiet = process.stdin.isTTY ? ['--quiet'] : ['--batch', '--no-tty', '--pinentry-mode', 'error']
  const child = spawn('gpg', [...quiet, '--output', '-', '--decrypt'], { stdio: ['pipe', 'pipe', 'ignore'] })
  return new Promise(done => {
    let text = ''
    child.on('error', () => done(undefined))
    child.stdin.on('error', () => {})
    child.stdout.on('data', chunk => {
      text += chunk
    })
    child.on('close', code => done(code === 0 ? text : undefined))
    child.stdin.end(message)
  })
}

// ---- 3. The files ----

/**
 * The files of a backup's image: sizes, and for each the number of the file in the parent's image that it continues
 * (-1: none). Of the backup to recover, the entries too.
 */
async function readFiles(member, parent, wanted) {
  const { id, manifest } = member
  const files = { sizes: [], blockSizes: [], bases: [], entries: [] }
  if (manifest.tree === undefined) {
    const before = new Map(parent?.manifest.files.map(({ path }, number) => [path, number]))
    for (const { path, size, block_size: blockSize } of manifest.files) {
      addFile(files, size, blockSize, before.get(path) ?? -1)
      if (wanted) files.entries.push({ path, type: 'file', size })
    }
    return files
  }
  const part = manifest.parts.find(({ role }) => role === 'tree')
  must(part, `${id}: its manifest names no list of entries`)
  const taken = new Set()
  let entries = 0
  for await (const line of readLines(await openPart(member, part.name), `${id}: ${part.name}`)) {
    entries += 1
    const entry = parsedLine(line)
    must(isEntry(entry) && entries <= manifest.tree.entries, `${id}: ${part.name} is damaged: entry ${entries}`)
    if (wanted) files.entries.push(entry)
    if (entry.type !== 'file') continue
    must(entry.base === null || !taken.has(entry.base), `${id}: ${part.name} is damaged: two files continue one`)
    if (entry.base !== null) taken.add(entry.base)
    addFile(files, entry.size, manifest.tree.block_size, entry.base ?? -1)
  }
  must(entries === manifest.tree.entries, `${id}: ${part.name} has not as many entries as its manifest says`)
  let blocks = 0
  for (let file = 0; file < files.sizes.length; file += 1) blocks += blocksOf(files, file)
  must(
    files.sizes.length === manifest.tree.files && blocks === manifest.blocks_total,
    `${id}: ${part.name} lists other files than its manifest counts`,
  )
  return files
}

function addFile({ sizes, blockSizes, bases }, size, blockSize, base) {
  sizes.push(size)
  blockSizes.push(blockSize)
  bases.push(base)
}

function parsedLine(line) {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const blocksOf = ({ sizes, blockSizes }, file) => Math.ceil(sizes[file] / blockSizes[file])

function isEntry(entry) {
  const { path, type, mode, uid, gid, mtime, size, link: target, device, attributes, base } = entry ?? {}
  const isText = value => typeof value === 'string' && value !== '' && !value.includes('\0')
  const links = {
    file: target === '',
    directory: target === '',
    symlink: isText(target),
    hardlink: isInnerPath(target),
    fifo: target === '',
    'character-device': target === '' && isDevice(device),
    'block-device': target === '' && isDevice(device),
  }
  return (
    isInnerPath(path) &&
    links[type] === true &&
    isCount(mode, 0o7777) &&
    isCount(uid, 2 ** 32 - 2) &&
    isCount(gid, 2 ** 32 - 2) &&
    Math.abs(mtime) <= 1e12 &&
    isCount(size, type === 'file' ? Number.MAX_SAFE_INTEGER : 0) &&
    areAttributes(attributes) &&
    (base === null || (type === 'file' && isCount(base, MOST_ENTRIES)))
  )
}

const isDevice = device => isCount(device?.major, 2 ** 32 - 1) && isCount(device?.minor, 2 ** 32 - 1)

/** Values in base64, by name. */
function areAttributes(attributes = {}) {
  if (typeof attributes !== 'object' || attributes === null) return false
  const isValue = value => typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value)
  return Object.entries(attributes).every(([name, value]) => /^[^\0]+$/s.test(name) && isValue(value))
}

/**
 * A path as Node takes it. In the list of entries each byte of a name that is not UTF-8 is one surrogate, U+DC80 to U+DCFF,
 * that stands alone.
 */
function fsPath(path) {
  if (!/\p{Surrogate}/u.test(path)) return path
  const bytes = [...path].map(character => {
    const code = character.codePointAt(0)
    must(code < 0xd800 || code > 0xdfff || (code >= 0xdc80 && code <= 0xdcff), 'half a surrogate pair names no file')
    return code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - 0xdc00) : Buffer.from(character)
  })
  return Buffer.concat(bytes)
}

/** Seconds as Node takes them: it cuts them to microseconds, and takes those before 1970 only in digits. */
function fsTime(seconds) {
  const micros = Math.round(seconds * 1e6)
  const value = (micros + (micros < 0 ? -0.5 : 0.5)) / 1e6
  return value < 0 ? String(value) : value
}

/** Where everything lies: no path twice, nothing below what is no directory, hard links to what comes before. */
function checkEntries(entries) {
  const types = new Map()
  for (const { path, type, link: target } of entries) {
    must(!types.has(path), `${path} stands twice in the list of entries`)
    must(
      type !== 'hardlink' || !['directory', undefined].includes(types.get(target)),
      `${path} is a link to a file that does not come before it`,
    )
    types.set(path, type)
  }
  const directories = new Set()
  for (const { path } of entries) {
    for (let above = dirname(path); above !== '.' && !directories.has(above); above = dirname(above)) {
      must((types.get(above) ?? 'directory') === 'directory', `${path} lies below ${above}, which is no directory`)
      directories.add(above)
    }
  }
  for (const [path, type] of types) if (type === 'directory') directories.add(path)
  return directories
}

async function* readLines(part, what) {
  const zstd = part.size === 0 ? nothingToUnpack() : startZstd(part)
  let rest = Buffer.alloc(0)
  try {
    for await (const chunk of zstd.output) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      const end = bytes.lastIndexOf(10) + 1
      rest = bytes.subarray(end)
      must(rest.length <= MiB, `${what} is damaged: a line is too long`)
      if (end > 0) yield* bytes.toString('utf8', 0, end - 1).split('\n')
    }
    await zstd.ended
    must(rest.length === 0, `${what} is damaged: it ends within a line`)
  } finally {
    zstd.stop()
    await part.close()
  }
}

// ---- 4. The blocks ----

/** Reads an exact number of bytes at a time from chunks that come as they like. */
function exactReader(chunks, what) {
  let held = []
  let length = 0
  return {
    async read(wanted) {
      while (length < wanted) {
        const { value, done } = await chunks.next()
        must(!done, `${what} ends too early`)
        held.push(value)
        length += value.length
      }
      const all = held.length === 1 ? held[0] : Buffer.concat(held, length)
      held = [all.subarray(wanted)]
      length -= wanted
      return all.subarray(0, wanted)
    },
    async end() {
      must(length === 0 && (await chunks.next()).done, `${what} is longer than it should be`)
    },
  }
}

/** blocks.idx, one zstd frame at a time: its lengths, its runs of blocks and their 16-byte digests. */
async function* readIndex(part, files, path) {
  try {
    const input = exactReader(part.chunks(), path)
    const header = await input.read(16)
    must(
      header.toString('latin1', 0, 8) === 'NXBKIDX1' && header.readUInt32LE(8) === 16,
      `${path} is not an index we know`,
    )
    let frames = 0n
    let blocks = 0n
    for (;;) {
      const lengths = await input.read(12)
      const [stored, plain, count] = [lengths.readUInt32LE(0), lengths.readUInt32LE(4), lengths.readUInt32LE(8)]
      if (stored === 0) break
      must(stored <= 17 * MiB && plain <= 16 * MiB && count <= 65536, `${path} is damaged: a frame is too large`)
      const table = await input.read(count * 24)
      const runs = []
      for (let at = 0; at < table.length; at += 24) runs.push(readRun(table.subarray(at, at + 24), files, plain, path))
      for (const run of runs) {
        run.digests = Buffer.from(await input.read(run.blocks * 16))
        blocks += BigInt(run.blocks)
      }
      frames += 1n
      yield { stored, plain, runs }
    }
    const end = await input.read(24)
    must(end.toString('latin1', 16) === 'NXBKEND1', `${path} is damaged: it has no end`)
    must(
      end.readBigUInt64LE(0) === frames && end.readBigUInt64LE(8) === blocks,
      `${path} is damaged: its counts are wrong`,
    )
    await input.end()
  } finally {
    await part.close()
  }
}

function readRun(bytes, files, plain, path) {
  const run = {
    file: bytes.readUInt32LE(0),
    blocks: bytes.readUInt32LE(4),
    first: Number(bytes.readBigUInt64LE(8)),
    offset: bytes.readUInt32LE(16),
  }
  must(run.file < files.sizes.length, `${path} is damaged: it names a file that is not there`)
  must(
    isCount(run.first) && run.blocks > 0 && run.first + run.blocks <= blocksOf(files, run.file),
    `${path} is damaged: a block lies outside its file`,
  )
  const position = run.first * files.blockSizes[run.file]
  run.bytes = Math.min(run.blocks * files.blockSizes[run.file], files.sizes[run.file] - position)
  must(run.offset + run.bytes <= plain, `${path} is damaged: a block lies outside its frame`)
  return run
}

async function applyMember(member, files, image) {
  const { id, manifest } = member
  const part = role => manifest.parts.find(found => found.role === role)
  const data = part(manifest.type === 'full' ? 'image' : 'blocks')
  const index = part('index')
  must(data && index, `${id}: its manifest names no data or no index`)
  const frames = await openPart(member, data.name)
  const zstd = frames.size === 0 ? nothingToUnpack() : startZstd(frames)
  try {
    const plain = exactReader(zstd.output[Symbol.asyncIterator](), `${id}: ${data.name} unpacked`)
    let stored = 0
    for await (const frame of readIndex(await openPart(member, index.name), files, `${id}: ${index.name}`)) {
      const bytes = await plain.read(frame.plain)
      for (const run of frame.runs) await image.write(run, files, bytes.subarray(run.offset, run.offset + run.bytes))
      stored += frame.stored
    }
    await plain.end()
    await zstd.ended
    must(stored === frames.size, `${id}: ${index.name} does not fit ${data.name}`)
  } finally {
    zstd.stop()
    await frames.close()
  }
}

/** A diff or incr of an unchanged source has no frames at all, which zstd would call an error. */
function nothingToUnpack() {
  return { output: (async function* () {})(), ended: Promise.resolve(), stop() {} }
}

function startZstd(part) {
  const child = spawn('zstd', ['-d', '-c', '-q'], { stdio: [part.fd ?? 'pipe', 'pipe', 'pipe'] })
  // What cannot be opened is the reason, not what zstd makes of its end.
  let cause
  if (part.fd === undefined) {
    const input = Readable.from(part.chunks())
    input.on('error', error => {
      cause = error
      child.kill()
    })
    child.stdin.on('error', () => {})
    input.pipe(child.stdin)
  }
  let complaint = ''
  child.stderr.on('data', text => {
    complaint = (complaint + text).slice(0, 500)
  })
  const ended = new Promise((done, refuse) => {
    child.on('error', error => {
      const missing = error.code === 'ENOENT'
      refuse(missing ? new Error('the zstd program is missing: install it (Debian, Ubuntu: apt install zstd)') : error)
    })
    child.on('close', code => {
      if (code === 0 && cause === undefined) done()
      else refuse(cause ?? new Error(`zstd failed: ${complaint.trim()}`))
    })
  })
  ended.catch(() => undefined)
  // Taken up at once: Node throws away what nobody reads by the time the program has ended.
  const taken = child.stdout.pipe(new PassThrough({ highWaterMark: MiB }))
  // When the output ends too early, zstd's own reason is the better message.
  async function* output() {
    yield* taken
    await ended
  }
  return { output: output(), ended, stop: () => child.kill() }
}

// ---- 5. The image ----

/** The newest image under construction: where its blocks go, and their digests in order. */
async function openImage(chain, files, path) {
  const { id, manifest } = chain[chain.length - 1]
  const count = files.sizes.length
  const firstRows = []
  let rows = 0
  for (let file = 0; file < count; file += 1) {
    firstRows.push(rows)
    rows += blocksOf(files, file)
  }
  // A digest takes 16 bytes in an index: more blocks than the chain's indexes can hold is a lie, told to exhaust memory.
  const indexes = chain.map(member =>
    join(member.directory, member.manifest.parts.find(({ role }) => role === 'index')?.name ?? ''),
  )
  let indexBytes = 0
  for (const name of indexes) indexBytes += (await lstat(name)).size
  must(rows * 16 <= indexBytes, `${id}: its files are larger than what is stored of them`)
  const digests = Buffer.alloc(rows * 16)
  const written = Buffer.alloc(Math.ceil(rows / 8))

  const single = manifest.tree === undefined && manifest.files.length === 1
  const directories = checkEntries(files.entries)
  // They would give the user of its server what only root has.
  const isOfCluster = entry => !isSpecial(entry) && entry.attributes === undefined
  must(manifest.kind !== 'postgres' || files.entries.every(isOfCluster), `${id}: it lists what no cluster has`)
  const fileEntries = files.entries.filter(({ type }) => type === 'file')
  const pathOf = entry => (single ? path : join(path, entry.path))
  await makeAll(single ? undefined : path, directories, fileEntries, pathOf)

  // By number in the image at hand: the file it has become in the newest one (-1: none), and how many blocks it has had
  // in every image since.
  let targets = Array.from({ length: count }, (_, file) => file)
  const limits = targets.map(file => blocksOf(files, file))
  let current = { file: -1, handle: undefined }
  async function handleOf(file) {
    if (current.file === file) return current.handle
    await current.handle?.close()
    current = { file: -1, handle: undefined }
    current = { file, handle: await open(fsPath(pathOf(fileEntries[file])), constants.O_WRONLY | constants.O_NOFOLLOW) }
    return current.handle
  }
  /** Whether a block is still wanted; it is not a second time. */
  function takeRow(target, block, length) {
    if (target < 0 || block >= limits[target]) return undefined
    if (length !== Math.min(files.blockSizes[target], files.sizes[target] - block * files.blockSizes[target]))
      return undefined
    const row = firstRows[target] + block
    if (written[Math.floor(row / 8)] & (1 << (row & 7))) return undefined
    written[Math.floor(row / 8)] |= 1 << (row & 7)
    return row
  }

  return {
    async write(run, theirs, bytes) {
      const target = targets[run.file] ?? -1
      const blockSize = theirs.blockSizes[run.file]
      must(target < 0 || blockSize === files.blockSizes[target], `${id}: its block size changed within the chain`)
      let begin = 0
      let end = 0
      const flush = async () => {
        const handle = begin < end ? await handleOf(target) : undefined
        const position = run.first * blockSize
        while (begin < end) begin += (await handle.write(bytes, begin, end - begin, position + begin)).bytesWritten
      }
      for (let block = 0; block < run.blocks; block += 1) {
        const at = block * blockSize
        const length = Math.min(blockSize, bytes.length - at)
        const row = takeRow(target, run.first + block, length)
        const hole = row !== undefined && fileEntries[target].sparse && isZero(bytes.subarray(at, at + length))
        if (row !== undefined) run.digests.copy(digests, row * 16, block * 16, block * 16 + 16)
        if (row !== undefined && !hole) {
          if (begin === end) begin = at
          end = at + length
          continue
        }
        await flush()
        begin = end
      }
      await flush()
    },
    /** Goes on to the parent of the image at hand. */
    back(member, theirs, before) {
      const next = new Array(before.sizes.length).fill(-1)
      for (const [file, base] of theirs.bases.entries()) {
        const target = targets[file] ?? -1
        if (base < 0 || target < 0) continue
        must(base < next.length, `${member.id}: it continues a file that its parent does not have`)
        next[base] = target
        limits[target] = Math.min(limits[target], blocksOf(before, base))
      }
      targets = next
    },
    /** Lets the file go that was written last, also when the work ends early. */
    async close() {
      const { handle } = current
      current = { file: -1, handle: undefined }
      await handle?.close()
    },
    async finish() {
      await this.close()
      const digest = createHash('sha256').update(digests).digest('hex')
      must(digest === manifest.image_digest, `${id}: what was recovered has not the image digest of its manifest`)
      if (manifest.tree !== undefined) return settleTree(path, files.entries, directories, manifest)
      for (const entry of fileEntries) await sync(pathOf(entry), 'r+')
      if (single) return
      for (const directory of ['', ...directories]) await sync(join(path, directory), 'r')
    },
  }
}

const isZero = bytes => bytes.every(byte => byte === 0)

/** Directories, then files as long as they will be. */
async function makeAll(root, directories, fileEntries, pathOf) {
  const outerFirst = [...directories].sort((a, b) => a.split('/').length - b.split('/').length)
  if (root !== undefined) {
    await mkdir(root, { mode: 0o700 })
    for (const directory of outerFirst) await mkdir(fsPath(join(root, directory)), { mode: 0o700 })
  }
  for (const entry of fileEntries) {
    const handle = await open(fsPath(pathOf(entry)), 'wx', 0o600)
    if (entry.size > 0) await handle.truncate(entry.size)
    await handle.close()
  }
}

/** Links, owners, modes and times; inner directories before outer ones, and all of it on disk. */
async function settleTree(root, entries, directories, manifest) {
  const isRoot = process.getuid?.() === 0
  const placed = entries.map(entry => ({ ...entry, at: join(root, entry.path) }))
  const types = new Map(placed.map(({ path, type }) => [path, type]))
  const hardLinks = placed.filter(({ type }) => type === 'hardlink')
  const isOfFile = ({ link: target }) => types.get(target) === 'file'
  const makeHardLink = ({ at, link: target }) => link(fsPath(join(root, target)), fsPath(at))
  const notMade = []
  for (const entry of hardLinks.filter(isOfFile)) await makeHardLink(entry)
  for (const entry of placed)
    if (isSpecial(entry)) if (!(await makeSpecial(root, entry, isRoot))) notMade.push(entry.path)
  for (const { type, at, link: target, uid, gid, mtime } of placed) {
    if (type !== 'symlink') continue
    await symlink(fsPath(target), fsPath(at))
    if (isRoot) await lchown(fsPath(at), uid, gid)
    await lutimes(fsPath(at), fsTime(mtime), fsTime(mtime))
  }
  for (const entry of hardLinks) {
    if (!isOfFile(entry) && !notMade.includes(entry.link)) await makeHardLink(entry)
  }
  const notes = notMade.map(path => `${JSON.stringify(path)} is not made: devices need root, and mknod`)
  if (isRoot)
    for (const { type, at, uid, gid } of placed)
      if (type === 'directory' || type === 'file') await lchown(fsPath(at), uid, gid)
  const unset = await setAttributes(placed)
  if (unset !== null) notes.push(unset)
  for (const entry of placed) if (entry.type === 'file') await settle(entry, constants.O_RDONLY)
  const listed = new Map(placed.filter(({ type }) => type === 'directory').map(entry => [entry.path, entry]))
  const innerFirst = [...directories].sort((a, b) => b.split('/').length - a.split('/').length)
  const flags = constants.O_RDONLY | constants.O_DIRECTORY
  for (const path of innerFirst) await settle(listed.get(path) ?? { at: join(root, path) }, flags)
  // A cluster's directory belongs to the user its server runs as.
  const { uid, gid } = manifest.facts ?? {}
  if (isRoot && isCount(uid, 2 ** 32 - 2) && isCount(gid, 2 ** 32 - 2)) await lchown(root, uid, gid)
  await sync(root, 'r')
  return notes
}

const isSpecial = ({ type }) => type === 'fifo' || type === 'character-device' || type === 'block-device'

/** Makes a pipe or device, under a name of letters first; false where this user, or this system, has no mknod for it. */
async function makeSpecial(root, { at, type, device, mode, uid, gid, mtime }, isRoot) {
  const name = join(root, `.special-${randomBytes(8).toString('hex')}`)
  const kind = { fifo: 'p', 'character-device': 'c', 'block-device': 'b' }[type]
  const numbers = type === 'fifo' ? [] : [String(device.major), String(device.minor)]
  if ((await runProgram('mknod', ['-m', '600', '--', name, kind, ...numbers])) !== 0) return false
  if (isRoot) await lchown(name, uid, gid)
  await chmod(name, mode)
  await lutimes(name, fsTime(mtime), fsTime(mtime))
  await rename(name, fsPath(at))
  return true
}

/**
 * Sets extended attributes and ACLs with setfattr(1), after the owners, whose change takes capabilities away, and before
 * the modes, which may close files to their owner. Gives what there is to say of it, or null.
 */
async function setAttributes(placed) {
  const entries = placed.filter(({ attributes }) => attributes !== undefined && Object.keys(attributes).length > 0)
  if (entries.length === 0) return null
  const escaped = bytes =>
    Buffer.from(bytes)
      .toString('latin1')
      .replace(/[^!-[\]-~]/g, one => octal(one.charCodeAt(0)))
  const octal = code => `\\${code.toString(8).padStart(3, '0')}`
  const text = entries.map(({ at, attributes }) => {
    const lines = Object.entries(attributes).map(
      // setfattr leaves an attribute out whose value is an empty one in base64.
      ([name, value]) => `${escaped(name).replaceAll('=', octal(61))}=${value === '' ? '""' : `0s${value}`}\n`,
    )
    return `# file: ${escaped(fsPath(at))}\n${lines.join('')}\n`
  })
  const code = await runProgram('setfattr', ['--restore=-'], text.join(''))
  if (code === 0) return null
  const why = code === null ? 'there is no setfattr program here (package attr)' : 'setfattr failed'
  return `extended attributes and ACLs of ${entries.length} entries are not all set: ${why}; tar sets those of a full, see RECOVER.txt`
}

/** The exit status of a program, null where there is none of that name. */
function runProgram(name, args, input = '') {
  return new Promise(resolve => {
    const child = spawn(name, args, { stdio: ['pipe', 'ignore', 'inherit'] })
    child.on('error', () => resolve(null))
    child.on('close', code => resolve(code ?? 1))
    child.stdin.on('error', () => {})
    child.stdin.end(input, 'latin1')
  })
}

async function settle({ at, mode, mtime }, flags) {
  const handle = await open(fsPath(at), flags | constants.O_NOFOLLOW)
  try {
    if (mode !== undefined) {
      await handle.chmod(mode)
      await handle.utimes(fsTime(mtime), fsTime(mtime))
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function sync(path, flags) {
  const handle = await open(path, flags)
  await handle.sync()
  await handle.close()
}

const exists = path =>
  lstat(path).then(
    () => true,
    error => (error.code === 'ENOENT' ? false : fail(error.message)),
  )

// ---- 6. Settings of a cluster ----

const leftOver =
  /^[ \t]*(recovery_(?:target\w*|end_command|min_apply_delay)|restore_command|archive_cleanup_command|primary_conninfo|primary_slot_name|promote_trigger_file|sync_replication_slots|include_if_exists[ \t=]*'recovery\.signal')/i

/**
 * Takes out of a recovered cluster what was left there of an earlier recovery, or of the standby it was copied from: its
 * server would follow that primary, or stop where that recovery stopped. Gives what it was.
 */
async function forgetRecovery(root) {
  const taken = []
  for (const name of ['standby.signal', 'recovery.signal']) {
    if (!(await exists(join(root, name)))) continue
    await unlink(join(root, name))
    taken.push(name)
  }
  const path = join(root, 'postgresql.auto.conf')
  if (!(await exists(path)) || !(await lstat(path)).isFile()) return taken
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    must((await handle.stat()).size <= MiB, `${path} is larger than it can be`)
    // Whatever its encoding is, its bytes stay.
    const lines = (await handle.readFile('latin1')).split('\n')
    const kept = lines.filter(line => !leftOver.test(line))
    if (kept.length === lines.length) return taken
    for (const line of lines) if (leftOver.test(line)) taken.push(leftOver.exec(line)[1])
    const bytes = Buffer.from(kept.join('\n'), 'latin1')
    await handle.truncate(0)
    await handle.write(bytes, 0, bytes.length, 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
  return taken
}

// ---- 7. Archived WAL ----

/**
 * One file of a PostgreSQL log, for the server's restore_command. Ends with 1 when it is not archived, and with 126 for
 * everything else, which stops a recovery instead of letting it end early.
 */
async function fetchWal(directory, [name, output, ...more], means) {
  must(name && output && more.length === 0, usage)
  must(
    /^[0-9A-F]{8}(\.history|[0-9A-F]{16}(\.partial|\.[0-9A-F]{8}\.backup)?)$/.test(name),
    `${name} is no file of a log`,
  )
  const stem = join(directory, name.slice(0, 8), `${name}.zst`)
  const path = (await exists(`${stem}.enc`)) ? `${stem}.enc` : stem
  if (!(await exists(path))) {
    process.exitCode = 1
    return
  }
  const bytes = await readSmall(path, 1100 * MiB)
  const length = bytes.readUInt32LE(4)
  must(bytes.readUInt32LE(0) === 0x184d2a50 && length <= 4096, `${path} does not begin with a header`)
  const head = bytes.toString('utf8', 8, 8 + length)
  const json = head.slice(0, head.lastIndexOf('\n', head.length - 2) + 1)
  const sha256 = value => createHash('sha256').update(value).digest('hex')
  const stored = bytes.subarray(8 + length)
  const header = JSON.parse(json)
  must(head === `${json}${sha256(json)}\n` && header.stored_sha256 === sha256(stored), `${path} is damaged`)
  must(header.name === name && isCount(header.bytes, 1024 * MiB), `${path} is the file of another name`)
  // REPO/SOURCE/wal/SYSTEM
  const source = dirname(dirname(resolve(directory)))
  const keys = await openKeys(dirname(source), means)
  const packed = header.encryption === undefined ? stored : await openWal(keys, header, stored)
  const problem = await walProblem(await trustIn(dirname(source), basename(source), keys), header)
  tellUntrusted(problem === undefined ? undefined : `${name} ${problem}`, means)
  const plain = await unpack(packed, header.bytes)
  must(header.encryption !== undefined || sha256(plain) === header.sha256, `${path} is damaged`)
  const draft = await open(`${output}.partial`, 'w', 0o600)
  await draft.writeFile(plain)
  await draft.sync()
  await draft.close()
  await rename(`${output}.partial`, output)
}

async function openWal(keys, header, stored) {
  const { stored_sha256: _digest, signature: _signature, ...bound } = header
  const opening = derived(await keys.secretOf(header.encryption.epoch), '', 'epoch sealing')
  const sealedKey = Buffer.from(String(header.encryption.data_key), 'base64')
  const data = hpkeOpen(opening, 'nexus-backup 1 wal key', header.name, sealedKey)
  must(data?.length === 32, `${header.name}: its key was not sealed for it, or was changed`)
  const file = { read: async (into, at, size, from) => ({ bytesRead: stored.copy(into, at, from, from + size) }) }
  const context = `nexus-backup 1 wal ${canonical(bound)}`
  const sealed = await openSealed(file, stored.length, derived(data, header.name, 'wal'), context, header.name)
  const pieces = []
  for await (const piece of sealed.chunks()) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

/** What zstd makes of bytes in memory; exactly so many. */
async function unpack(packed, size) {
  const zstd = startZstd({ fd: undefined, chunks: () => [packed] })
  const pieces = []
  let length = 0
  for await (const piece of zstd.output) {
    length += piece.length
    must(length <= size, 'a file of the log unpacks to more than it should')
    pieces.push(piece)
  }
  await zstd.ended
  must(length === size, 'a file of the log unpacks to less than it should')
  return Buffer.concat(pieces)
}

const usage =
  'usage: node REPO/recover.mjs REPO/SOURCE/ID OUTPUT [--key-file FILE] [--passphrase-file FILE] [--epoch-key-file FILE] [--untrusted], ' +
  'or node REPO/recover.mjs --wal REPO/SOURCE/wal/SYSTEM FILE PATH [--key-file FILE]'

function readArguments(args) {
  try {
    const text = { type: 'string' }
    const options = {
      'key-file': text,
      'passphrase-file': text,
      'epoch-key-file': text,
      wal: text,
      untrusted: { type: 'boolean' },
    }
    return parseArgs({ args, options, allowPositionals: true })
  } catch (error) {
    return fail(`${error.message}; ${usage}`)
  }
}

async function main(args) {
  const { values, positionals } = readArguments(args)
  if (values.wal !== undefined) return fetchWal(values.wal, positionals, values)
  const [directory, output, ...more] = positionals
  must(directory && output && more.length === 0, usage)
  const [target, partial] = [resolve(output), `${resolve(output)}.partial`]
  for (const path of [target, partial])
    must(!(await exists(path)), `${path} already exists; choose another OUTPUT, or move it away`)
  const chain = await readChain(resolve(directory))
  for (const member of chain) await checkBytes(member)
  await openMembers(chain, values)
  const newest = chain[chain.length - 1].manifest
  must(newest.tree !== undefined || newest.files.length > 0, `${newest.id}: it holds no files`)
  let bytes = 0
  let taken = []
  let notes = []
  try {
    let files = await readFiles(chain[chain.length - 1], chain[chain.length - 2], true)
    bytes = files.sizes.reduce((sum, size) => sum + size, 0)
    const image = await openImage(chain, files, partial)
    try {
      for (let at = chain.length - 1; at >= 0; at -= 1) {
        await applyMember(chain[at], files, image)
        if (at === 0) break
        const before = await readFiles(chain[at - 1], chain[at - 2], false)
        image.back(chain[at], files, before)
        files = before
      }
    } finally {
      await image.close()
    }
    notes = (await image.finish()) ?? []
    if (newest.kind === 'postgres') taken = await forgetRecovery(partial)
  } catch (error) {
    if (await exists(partial)) error.message += `; ${partial} holds what was recovered so far and cannot be trusted`
    throw error
  }
  must(!(await exists(target)), `${target} appeared meanwhile; the recovered data is in ${partial}`)
  await rename(partial, target)
  await sync(dirname(target), 'r')
  for (const { id } of chain) process.stdout.write(`applied ${id}\n`)
  for (const note of notes) process.stderr.write(`recover: ${note}\n`)
  if (taken.length > 0) process.stdout.write(`left out, of an earlier recovery or a standby: ${taken.join(', ')}\n`)
  process.stdout.write(
    `recovered ${newest.id}, captured at ${JSON.stringify(newest.captured_at)}: ${bytes} bytes in ${target}\n`,
  )
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`recover: ${error.message}\n`)
  process.exitCode = process.argv.some(word => word.startsWith('--wal')) ? 126 : 1
}
