import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { compiled } from '../helpers/compiled.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { withoutLinks } from '../helpers/without-links.js'

const PROCESSES = 4
const NAMES = 100

const script = (module: string) => `
import { writeFileSync } from 'node:fs'
import { putOnce } from ${JSON.stringify(module)}
const [room, own] = process.argv.slice(-2)
const won = []
for (let name = 0; name < ${NAMES}; name += 1) {
  const draft = room + '/draft-' + own + '-' + name
  writeFileSync(draft, own.repeat(1000))
  if (putOnce(draft, room + '/name-' + name)) won.push(name)
}
console.log(JSON.stringify(won))
`

it.each([
  { kind: 'with hard links', env: () => ({}) },
  { kind: 'without hard links', env: withoutLinks },
])('has one winner of several processes $kind, and its whole content', async ({ env }) => {
  const room = temporaryDirectory()
  const run = join(temporaryDirectory(), 'run.mjs')
  writeFileSync(run, script(join(compiled(['system/put-once.ts']), 'system/put-once.js')))
  const more = env()
  const winners = await Promise.all(
    Array.from({ length: PROCESSES }, (_, own) => output(process.execPath, [run, room, String(own)], more)),
  )
  const wins = winners.map(text => JSON.parse(text) as number[])
  expect(wins.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: NAMES }, (_, name) => name))
  for (const [own, names] of wins.entries()) {
    for (const name of names) expect(readFileSync(join(room, `name-${name}`), 'utf8')).toBe(String(own).repeat(1000))
  }
  expect(readdirSync(room).filter(name => name.startsWith('.'))).toEqual([])
})

it('is refused links in the environment that the tests use', () => {
  const room = temporaryDirectory()
  mkdirSync(join(room, 'd'))
  writeFileSync(join(room, 'a'), '')
  expect(() =>
    execFileSync(process.execPath, ['-e', `require('fs').linkSync('${room}/a', '${room}/b')`], {
      env: { ...process.env, ...withoutLinks() },
      stdio: 'pipe',
    }),
  ).toThrow('EPERM')
})

function output(command: string, words: string[], env: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', chunk => {
      text += String(chunk)
    })
    child.on('close', code => (code === 0 ? resolve(text) : reject(new Error(`ended with ${code}`))))
  })
}
