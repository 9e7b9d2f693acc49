import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PartRules } from '../../src/operations/requests.js'
import { planOutput, restoreToOutput } from '../../src/operations/restore-output.js'
import { noise } from '../sources/files/trees.js'
import { type Directories, directories } from './directories.js'

function filled(): Directories {
  const at = directories()
  writeFileSync(join(at.uploads, 'large.bin'), noise(1_500_000, 1))
  writeFileSync(join(at.uploads, 'small [1].txt'), 'small')
  symlinkSync('large.bin', join(at.uploads, 'latest'))
  return at
}

async function output(at: Directories, part: Partial<PartRules>, write?: (bytes: Uint8Array) => Promise<void>) {
  const { target: _, ...request } = at.restoring(
    { kind: 'path', path: '', force: false },
    { part: { include: [], exclude: [], ...part } },
  )
  const written: Uint8Array[] = []
  const take = write ?? (async (bytes: Uint8Array) => void written.push(bytes))
  const plan = await planOutput(at.context, request)
  const result = await restoreToOutput(at.context, at.journal, { request, plan, write: take }).catch(error => error)
  expect(existsSync(join(at.context.stateDirectory, 'scratch'))).toBe(false)
  return { result, bytes: Buffer.concat(written) }
}

describe('one file to standard output', () => {
  it('may lie in a directory whose name is not UTF-8', async () => {
    const at = filled()
    const directory = Buffer.concat([Buffer.from(`${at.uploads}/`), Buffer.from([0x61, 0xff])])
    mkdirSync(directory)
    writeFileSync(Buffer.concat([directory, Buffer.from('/inner')]), 'raw')
    await at.backUp()
    const { result, bytes } = await output(at, { include: ['inner'] })
    expect([result.target, bytes.toString()]).toEqual(['-', 'raw'])
  })

  it('is written as it was, once all of it was compared with its digests', async () => {
    const at = filled()
    const { id } = await at.backUp()
    for (const [include, content] of [
      ['large.bin', noise(1_500_000, 1)],
      ['small*', Buffer.from('small')],
    ] as const) {
      const { result, bytes } = await output(at, { include: [include] })
      expect(bytes.equals(content)).toBe(true)
      expect(result).toMatchObject({ id, target: '-', part: { files: 1, bytes: content.length } })
    }
    const image = join(at.source.repository.path, 'up', id, 'up.tar.zst')
    const stored = readFileSync(image)
    const last = stored.length - 200_000
    stored.writeUInt8(stored.readUInt8(last) ^ 1, last)
    writeFileSync(image, stored)
    const { result, bytes } = await output(at, { include: ['large.bin'] })
    expect([result.kind, bytes.length]).toEqual(['damage', 0])
  })

  it('is refused where it is not one file, with what to type; and fails when nobody takes it', async () => {
    const at = filled()
    await at.backUp()
    const cases: [string[], RegExp, RegExp][] = [
      [['large.bin', 'small*'], /large.bin and \S+small \[1\]\.txt match/, /--include \S.* --to -/],
      [['latest'], /latest is a symlink/, /list \S+ --files/],
      [['la*'], /large.bin and \S+latest match/, /--to -/],
    ]
    for (const [include, message, hint] of cases) {
      await expect(output(at, { include }), String(message)).rejects.toMatchObject({
        kind: 'usage',
        code: 'not_one_file',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      })
    }
    const { result } = await output(at, { include: ['large.bin'] }, () => Promise.reject(new Error('EPIPE')))
    expect(result).toMatchObject({ kind: 'failed', code: 'output_failed' })
  })
})
