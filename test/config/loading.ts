import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LoadRequest, loadSettings } from '../../src/config/load.js'
import type { Settings } from '../../src/config/settings.js'
import { NexusError } from '../../src/errors.js'
import { temporaryDirectory } from '../helpers/temporary.js'

export const minimal = `
repositories:
  local: { path: /var/backups/nexus }
sources:
  itsm: { kind: sqlite, path: /opt/itsm/data/itsm_nexus.db }
`

export function load(
  text: string | undefined,
  request: Partial<LoadRequest> = {},
): { settings: Settings; warnings: string[] } {
  const directory = temporaryDirectory()
  const config = join(directory, 'config.yaml')
  if (text !== undefined) writeFileSync(config, text, { mode: 0o600 })
  const warnings: string[] = []
  const settings = loadSettings({
    config: text === undefined ? undefined : config,
    repo: undefined,
    state: undefined,
    sqlite: undefined,
    name: undefined,
    keyFile: undefined,
    passphraseFile: undefined,
    cwd: directory,
    uid: process.getuid?.() ?? 0,
    home: directory,
    xdgConfigHome: undefined,
    xdgStateHome: undefined,
    systemTimezone: 'UTC',
    env: {},
    warn: message => warnings.push(message),
    ...request,
  })
  return { settings, warnings }
}

export function refusal(text: string | undefined, request: Partial<LoadRequest> = {}): NexusError {
  try {
    load(text, request)
  } catch (error) {
    if (error instanceof NexusError) return error
    throw error
  }
  throw new Error('it was accepted')
}
