// Loaded into a run with --require: stops it just before, or just after, calls of node:fs with a certain path. PAUSES is a
// list of { call, argument, path, when }, taken in that order; at the n-th the run makes a file `reached-n` in
// PAUSE_DIRECTORY and goes on when there is a file `go-n`.
const fs = require('node:fs')
const { syncBuiltinESMExports } = require('node:module')
const { join } = require('node:path')

const { existsSync, readlinkSync, writeFileSync } = fs
const pauses = JSON.parse(process.env.PAUSES)
const directory = process.env.PAUSE_DIRECTORY
let next = 0

/** A path over the descriptor of a directory, as it reads without. */
function plain(path) {
  return String(path).replace(/^\/proc\/\w+\/fd\/\d+/, descriptor => readlinkSync(descriptor))
}

function pause(name, given, when) {
  const wanted = pauses[next]
  if (wanted?.call !== name || wanted.when !== when || !plain(given[wanted.argument]).includes(wanted.path)) return
  writeFileSync(join(directory, `reached-${next}`), '')
  while (!existsSync(join(directory, `go-${next}`))) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  next += 1
}

for (const name of new Set(pauses.map(({ call }) => call))) {
  const call = fs[name]
  fs[name] = (...given) => {
    pause(name, given, 'before')
    const result = call(...given)
    pause(name, given, 'after')
    return result
  }
}
syncBuiltinESMExports()
