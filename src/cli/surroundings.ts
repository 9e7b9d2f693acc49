import { readlinkSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadSettings } from '../config/load.js'
import type { Settings } from '../config/settings.js'
import type { CommandIo } from './io.js'
import { type OptionValues, switchOption, textOption } from './parsed.js'

/** The settings of this run, from flags, environment and configuration. */
export function settingsOf(options: OptionValues, io: CommandIo, warn: (message: string) => void): Settings {
  return loadSettings({
    config: textOption(options, 'config'),
    repo: textOption(options, 'repo'),
    state: textOption(options, 'state'),
    sqlite: textOption(options, 'sqlite'),
    name: textOption(options, 'name'),
    keyFile: absolute(textOption(options, 'key-file'), io.cwd),
    passphraseFile: absolute(textOption(options, 'passphrase-file'), io.cwd),
    // What was set aside at a path is brought back without a repository.
    repositoryOptional: switchOption(options, 'rollback') && textOption(options, 'to') !== undefined,
    cwd: io.cwd,
    uid: io.user.uid,
    home: io.user.home,
    xdgConfigHome: io.env.XDG_CONFIG_HOME,
    xdgStateHome: io.env.XDG_STATE_HOME,
    systemTimezone: systemTimezone(io.env.TZ),
    env: io.env,
    warn,
  })
}

function absolute(path: string | undefined, cwd: string): string | undefined {
  return path === undefined ? undefined : resolve(cwd, path)
}

/** The machine's zone. Loading what Node knows of zones takes longer than Node's own start. */
function systemTimezone(asked: string | undefined): string {
  const linked =
    asked === undefined ? /\/zoneinfo\/([A-Za-z_]+(?:\/[A-Za-z_+-]+)+)$/.exec(localtimeTarget())?.[1] : undefined
  if (linked === 'Etc/UTC') return 'UTC'
  return linked ?? Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** Where the machine's zone file leads; empty where it is no link. */
function localtimeTarget(): string {
  try {
    return readlinkSync('/etc/localtime')
  } catch {
    return ''
  }
}
