import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
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

it('has one winner of several processes and its whole content, with hard links and without', async () => {
  const run = join(temporaryDirectory(), 'run.mjs')
  writeFileSync(run, script(join(compiled(['system/put-once.ts']), 'system/put-once.js')))
  for (const env of [{}, withoutLinks()]) {
    const room = temporaryDirectory()
    const wins = await Promise.all(
      Array.from({ length: PROCESSES }, async (_, own) => {
        return JSON.parse(await output(process.execPath, [run, room, String(own)], env)) as number[]
      }),
    )
    expect(wins.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: NAMES }, (_, name) => name))
    for (const [own, names] of wins.entries()) {
      for (const name of names) expect(readFileSync(join(room, `name-${name}`), 'utf8')).toBe(String(own).repeat(1000))
    }
    expect(readdirSync(room).filter(name => name.startsWith('.'))).toEqual([])
    // The draft keeps its name only where it is a link.
    const drafts = readdirSync(room).filter(name => name.startsWith('draft-')).length
    expect(drafts).toBe('LD_PRELOAD' in env ? (PROCESSES - 1) * NAMES : PROCESSES * NAMES)
  }
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
