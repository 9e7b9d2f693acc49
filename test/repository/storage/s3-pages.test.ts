import { PutObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { makeBackupId } from '../../../src/repository/layout.js'
import { initRepository, openRepository } from '../../../src/repository/open.js'
import { mapParallel } from '../../../src/repository/parallel.js'
import { type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import type { SourceRoom } from '../../../src/repository/types.js'
import { faultProxy } from '../../helpers/fault-proxy.js'
import { once } from '../../helpers/paused-storage.js'
import { startS3 } from '../../helpers/s3-server.js'
import { exampleManifest } from '../manifests.js'

const server = await startS3()
const day = (n: number) => new Date(Date.UTC(2026, 10, n))

async function commit(room: SourceRoom, at: Date, sequence: number): Promise<string> {
  const manifest = exampleManifest({ at, sequence })
  const writer = await room.begin(manifest.id)
  const part = await writer.create('itsm.db.zst')
  await part.write(Buffer.from('bytes'))
  const written = { ...(await part.close()), role: 'image' as const }
  await writer.commit({ ...manifest, parts: [written] }, [written])
  return manifest.id
}

/** A source whose listing takes two answers, and its room as one sees it who lists through a proxy. */
async function longSource() {
  const settings = await server.newPlace()
  const place = (s3: S3Settings) => ({ path: s3Location(s3), s3 })
  const direct = (await initRepository(place(settings), { now: day(1) })).source('itsm')
  const strays = Array.from({ length: 1001 }, (_, n) => `${settings.prefix}/itsm/0000-${n}`)
  await mapParallel(strays, 32, Key =>
    server.client.send(new PutObjectCommand({ Bucket: settings.bucket, Key, Body: Buffer.from('stray') })),
  )
  const proxy = await faultProxy(server.endpoint)
  const room = (await openRepository(place({ ...settings, endpoint: proxy.endpoint }))).source('itsm')
  return { direct, room, proxy }
}

const isSecondAnswer = (what: string) => what.startsWith('GET') && what.includes('continuation-token')

describe('a listing of two answers', () => {
  it('shows no backup as damaged that is begun between them and committed while it is read', async () => {
    const { direct, room, proxy } = await longSource()
    const first = await commit(direct, day(2), 1)
    const manifest = exampleManifest({ at: day(3), sequence: 2, id: makeBackupId(day(3), 'full', '00ff') })
    const writer = await direct.begin(manifest.id)
    const begun = once(async () => (await writer.create('itsm.db.zst')).close())
    const committed = once(async () => {
      const role = 'image' as const
      const empty = { name: 'itsm.db.zst', bytes: 0, sha256: EMPTY, role }
      await writer.commit({ ...manifest, parts: [empty] }, [empty])
    })
    proxy.rule = async (_, what) => {
      if (isSecondAnswer(what)) await begun()
      if (what.includes(`${manifest.id}/SHA256SUMS`)) await committed()
      return undefined
    }
    const entries = await room.entries()
    expect(entries.map(({ status, id }) => [status, id])).toEqual([
      ['ok', first],
      ['partial', manifest.id],
    ])
    await committed()
    expect((await room.entries()).map(({ status }) => status)).toEqual(['ok', 'ok'])
  })

  it('shows neither a backup that is committed between them nor one that a prune takes away as damaged', async () => {
    const { direct, room, proxy } = await longSource()
    const first = await commit(direct, day(2), 1)
    const second = await commit(direct, day(3), 2)
    const third = once(() => commit(direct, day(4), 3))
    const prune = once(() => direct.remove(first))
    proxy.rule = async (_, what) => {
      if (isSecondAnswer(what)) await third()
      // It was listed, with its marker, and is gone before the markers are.
      if (what.startsWith('GET') && what.includes(`${first}/SHA256SUMS`)) await prune()
      return undefined
    }
    const entries = await room.entries()
    expect(entries.map(({ status }) => status)).toEqual(['ok', 'ok'])
    expect(entries.map(({ id }) => id)).toEqual([second, expect.stringContaining('20261104')])
  })
})

const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

it('a prune that ends between backups and their markers leaves no damage to be seen', async () => {
  const settings = await server.newPlace()
  const place = (s3: S3Settings) => ({ path: s3Location(s3), s3 })
  const direct = (await initRepository(place(settings), { now: day(1) })).source('itsm')
  const first = await commit(direct, day(2), 1)
  await commit(direct, day(3), 2)
  const proxy = await faultProxy(server.endpoint)
  const room = (await openRepository(place({ ...settings, endpoint: proxy.endpoint }))).source('itsm')
  // A marker of another backup, so that markers are looked for.
  const other = await direct.begin(makeBackupId(day(5), 'full', '0000'))
  await (await other.create('itsm.db.zst')).close()
  const prune = once(() => direct.remove(first))
  proxy.rule = async (_, what) => {
    if (what.startsWith('GET') && what.includes('prefix=') && what.includes('.pending')) await prune()
    return undefined
  }
  expect((await room.entries()).map(({ status }) => status)).toEqual(['ok', 'partial'])
})
