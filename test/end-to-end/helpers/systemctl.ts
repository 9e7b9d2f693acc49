import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { inYaml } from '../../helpers/repository-kind.js'
import type { Place } from './place.js'

/**
 * A `systemctl` of our own on PATH, which writes down how it was called: machines that run tests have no systemd, so
 * what can be shown is that it is asked the right thing at the right time.
 */
export function fakeSystemctl(directory: string, fails: 'stop' | 'start' | 'nothing' = 'nothing') {
  const programs = join(directory, 'programs')
  const log = join(directory, 'systemctl.log')
  mkdirSync(programs)
  const hold = join(directory, 'systemctl.hold')
  const path = join(programs, 'systemctl')
  writeFileSync(
    path,
    `#!/bin/sh\necho "$*" >> '${log}'\nwhile [ -e '${hold}' ]; do sleep 0.02; done\nif [ "$1" = ${fails} ]; then echo "Job for $3 failed." >&2; exit 1; fi\n`,
  )
  chmodSync(path, 0o755)
  return {
    env: { PATH: `${programs}${delimiter}${process.env.PATH ?? ''}` },
    /** From now on every call stands still, until the function that this returns is called. */
    held() {
      writeFileSync(hold, '')
      return () => rmSync(hold)
    },
    calls: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []),
  }
}

/** A configuration for a place's source with a service to stop and start. */
export function withService(directory: string, settings: Pick<Place, 'database' | 'repository' | 'keyFile' | 'state'>) {
  const file = join(directory, 'config.yaml')
  writeFileSync(
    file,
    [
      `state: ${settings.state}`,
      `repositories: { local: ${inYaml(settings)} }`,
      `sources: { app: { kind: sqlite, path: ${settings.database}, service: app.service } }`,
      '',
    ].join('\n'),
  )
  return ['--config', file]
}
