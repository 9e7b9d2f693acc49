import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import { verify } from '../../src/operations/verify.js'
import { changeDatabase } from '../end-to-end/helpers/database.js'
import { type Application, application } from './application.js'

function verified(app: Application, wishes: { targets?: string[]; drill?: boolean } = {}) {
  const { targets = [], drill = false } = wishes
  return verify(app.context, app.journal, {
    repositories: [app.source.repository],
    sources: [app.source],
    targets,
    drill,
  })
}

async function chainOfThree(): Promise<{ app: Application; ids: string[]; file(id: number, name: string): string }> {
  const app = await application()
  const ids: string[] = []
  for (const generation of [1, 2, 3]) {
    await changeDatabase(app.source.path, generation)
    ids.push((await app.create()).backups[0]?.id ?? '')
  }
  const file = (id: number, name: string) => join(app.source.repository.path, 'app', ids[id] ?? '', name)
  return { app, ids, file }
}

describe('verify', () => {
  it('proves a sound chain and keeps the proof', async () => {
    const { app, ids } = await chainOfThree()
    const { results } = await verified(app)
    expect(results.map(({ id, status, level }) => [id, status, level])).toEqual(ids.map(id => [id, 'ok', 'content']))
    const request = { repositories: [app.source.repository], source: 'app', all: false }
    expect((await list(app.context, request)).backups.every(({ proven }) => proven)).toBe(true)
  })

  it('drills the latest: restores it, runs its checks, and says how long that took', async () => {
    const { app, ids } = await chainOfThree()
    const { results } = await verified(app, { drill: true })
    const drilled = results.find(({ level }) => level === 'drill')
    expect(drilled).toMatchObject({ id: ids[2], status: 'ok' })
    expect(drilled?.drill?.restore_ms).toBeGreaterThan(0)
    expect(drilled?.drill?.checks.map(({ name }) => name)).toEqual(['integrity_check', 'SELECT count(*) FROM items'])
    expect(app.journal.heard.at(-1)).toBe('drill done')
  })

  it('names everything that damage takes down with it, and nothing else', async () => {
    const { app, ids, file } = await chainOfThree()
    const part = file(1, 'blocks.zst')
    const bytes = readFileSync(part)
    bytes[10] = (bytes[10] ?? 0) ^ 1
    writeFileSync(part, bytes)
    const { results } = await verified(app)
    expect(results.map(({ status }) => status)).toEqual(['ok', 'damaged', 'damaged'])
    expect(results[1]?.affects).toEqual(ids.slice(1))
    expect(results[2]?.findings[0]?.problem).toContain(ids[1])
    expect(app.journal.heard.at(-1)).toBe('verify damage')
    const alone = await verified(app, { targets: [ids[0] ?? ''] })
    expect(alone.results.map(({ id, status }) => [id, status])).toEqual([[ids[0], 'ok']])
  })

  it('finds a missing part, a stranger among the files, and a lost manifest', async () => {
    const { app, file } = await chainOfThree()
    rmSync(file(0, 'app.db.zst'))
    writeFileSync(file(1, 'extra'), 'who put that here')
    rmSync(file(2, 'manifest.json'))
    const { results } = await verified(app)
    const problems = results.flatMap(({ findings }) => findings.map(({ part }) => part))
    expect(problems).toEqual(expect.arrayContaining(['app.db.zst', 'extra', 'manifest.json']))
  })

  it('says when there is nothing to verify, or nothing by that name', async () => {
    const { app } = await chainOfThree()
    await expect(verified(app, { targets: ['nothing'] })).rejects.toMatchObject({ kind: 'not-found' })
  })
})
