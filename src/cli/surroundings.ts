import { loadSettings } from '../config/load.js'
import type { Settings } from '../config/settings.js'
import type { CommandIo } from './io.js'
import { type OptionValues, textOption } from './parsed.js'

/** The settings of this run, from flags, environment and configuration. */
export function settingsOf(options: OptionValues, io: CommandIo, warn: (message: string) => void): Settings {
  return loadSettings({
    config: textOption(options, 'config'),
    repo: textOption(options, 'repo'),
    state: textOption(options, 'state'),
    sqlite: textOption(options, 'sqlite'),
    name: textOption(options, 'name'),
    cwd: io.cwd,
    uid: io.user.uid,
    home: io.user.home,
    xdgConfigHome: io.env.XDG_CONFIG_HOME,
    xdgStateHome: io.env.XDG_STATE_HOME,
    systemTimezone: systemTimezone(),
    warn,
  })
}

function systemTimezone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone
}
