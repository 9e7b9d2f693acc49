import { chmodSync, chownSync, linkSync, lutimesSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inYaml, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { isRoot, noise } from '../../sources/files/trees.js'
import { type Finished, type RunOptions, run, start } from './run.js'

/** Directories under backup, with a configuration of their own. */
export interface FilesPlace extends TestRepository {
  room: string
  /** The roots: a directory of attachments and one of logs. */
  uploads: string
  logs: string
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<Finished>
  start(command: string, args?: readonly string[]): ReturnType<typeof start>
  /** Runs and fails the test unless it ends with this status; returns what it printed with `--json`. */
  json(command: string, args?: readonly string[], options?: RunOptions & { status?: number }): Promise<unknown>
}

/** A source `up` with two roots; `more` are further lines of its configuration. */
export function filesPlace(more: readonly string[] = []): FilesPlace {
  const room = temporaryDirectory()
  const [uploads, logs, file] = ['live/uploads', 'live/logs', 'config.yaml'].map(name => join(room, name)) as [
    string,
    string,
    string,
  ]
  const { repository, keyFile } = testRepository(join(room, 'repository'), join(room, 'key'))
  mkdirSync(uploads, { recursive: true })
  mkdirSync(logs)
  const lines = [
    `state: ${join(room, 'state')}`,
    `repositories: { local: ${inYaml({ repository, keyFile })} }`,
    'sources:',
    '  up:',
    '    kind: files',
    `    paths: [${uploads}, ${logs}]`,
    ...more.map(line => `    ${line}`),
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  const all = (command: string, args: readonly string[] = []) => [command, ...args, '--config', file]
  return {
    room,
    uploads,
    logs,
    repository,
    keyFile,
    run: (command, args, options) => run(all(command, args), options),
    start: (command, args) => start(all(command, args)),
    async json(command, args = [], { status = 0, ...options } = {}) {
      const { code, stdout, stderr } = await run(all(command, [...args, '--json']), options)
      if (code !== status) throw new Error(`${command} ended with ${code}: ${stderr}${stdout}`)
      return JSON.parse(stdout === '' ? stderr : stdout)
    },
  }
}

/** Fills the roots: so many attachments in directories, logs, links of both kinds, odd modes and owners, holes. */
export function fillTree({ uploads, logs }: FilesPlace, files: number): void {
  const width = 200
  for (let directory = 0; directory * width < files; directory += 1) {
    const path = join(uploads, `ticket-${directory}`)
    mkdirSync(path)
    for (let at = directory * width; at < Math.min(files, (directory + 1) * width); at += 1) {
      const file = join(path, `attachment-${at}.bin`)
      writeFileSync(file, noise((at * 37) % 3000, at))
      if (at % 50 === 0) chmodSync(file, 0o640 + (at % 8))
      if (at % 70 === 0) utimesSync(file, 1.4e9 + at, 1.4e9 + at + 0.5)
      if (isRoot && at % 90 === 0) chownSync(file, 1000 + (at % 7), 2000)
    }
    chmodSync(path, directory % 3 === 0 ? 0o750 : 0o755)
  }
  writeFileSync(join(uploads, 'large.bin'), noise(5_000_000, 1))
  writeFileSync(join(uploads, 'Anhang Müller 日本.pdf'), 'x')
  linkSync(join(uploads, 'large.bin'), join(uploads, 'zz-same-as-large.bin'))
  symlinkSync('ticket-0/attachment-1.bin', join(uploads, 'latest'))
  lutimesSync(join(uploads, 'latest'), 1.3e9, 1.3e9)
  for (const name of ['app.log', 'app.log.1', 'audit.log']) writeFileSync(join(logs, name), noise(600_000, name.length))
}
