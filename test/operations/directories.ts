import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { defaultChainPolicy, type FilesSourceSettings } from '../../src/config/settings.js'
import type { Context } from '../../src/context.js'
import { create } from '../../src/operations/create.js'
import type { CreateRequest, RestoreRequest } from '../../src/operations/requests.js'
import type { BackupReport } from '../../src/operations/results.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { type Portrait, portrait } from '../sources/files/trees.js'
import { createRequest, listeningJournal } from './application.js'

/** Directories under backup, and the operations on them within this process. */
export interface Directories {
  room: string
  /** The roots. */
  uploads: string
  logs: string
  source: FilesSourceSettings
  context: Context
  journal: ReturnType<typeof listeningJournal>
  warnings: string[]
  /** Takes a backup and fails the test when there is none. */
  backUp(wishes?: Partial<CreateRequest>): Promise<BackupReport>
  restoring(target: RestoreRequest['target'], wishes?: Partial<RestoreRequest>): RestoreRequest
  /** Both roots as they are now, or as they are below another directory. */
  picture(below?: string): { uploads: Portrait; logs: Portrait }
}

export function directories(wishes: Partial<FilesSourceSettings> = {}): Directories {
  const room = temporaryDirectory()
  const [uploads, logs] = [join(room, 'live/uploads'), join(room, 'live/logs')]
  mkdirSync(uploads, { recursive: true })
  mkdirSync(logs)
  const source: FilesSourceSettings = {
    kind: 'files',
    name: 'up',
    paths: [uploads, logs],
    exclude: [],
    include: [],
    repository: { name: 'local', path: join(room, 'repository') },
    copies: [],
    checks: [],
    service: null,
    keep: {},
    chain: defaultChainPolicy,
    digestAlgorithm: 'xxh3-128',
    ...wishes,
  }
  const warnings: string[] = []
  let looks = 0
  const context = testContext({
    stateDirectory: join(room, 'state'),
    warn: message => void warnings.push(message),
    now: () => new Date(Date.UTC(2025, 11, 1) + 1000 * looks++),
  })
  const journal = listeningJournal()
  const request = createRequest([source])
  return {
    room,
    uploads,
    logs,
    source,
    context,
    journal,
    warnings,
    async backUp(more) {
      const { backups, failures } = await create(context, journal, { ...request, ...more })
      const [backup] = backups
      if (backup === undefined) throw new Error(`no backup: ${JSON.stringify(failures)}`)
      return backup
    },
    restoring: (target, more) => ({
      repositories: [source.repository],
      backup: 'up',
      target,
      source,
      at: undefined,
      dryRun: false,
      ...more,
    }),
    picture: (below = '/') => ({ uploads: portrait(join(below, uploads)), logs: portrait(join(below, logs)) }),
  }
}
