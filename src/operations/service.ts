import { errnoOf, messageOf, NexusError } from '../errors.js'

/** Stops a systemd unit and waits until it has stopped. @throws NexusError `failed` (`service_failed`) */
export async function stopService(unit: string): Promise<void> {
  await systemctl('stop', unit, 'nothing was replaced; see: ')
}

/** Starts a systemd unit. @throws NexusError `failed` (`service_failed`) */
export async function startService(unit: string): Promise<void> {
  await systemctl('start', unit, `start it by hand: systemctl start ${unit}; see: `)
}

async function systemctl(verb: 'stop' | 'start', unit: string, hint: string): Promise<void> {
  const { execa } = await import('execa')
  try {
    await execa('systemctl', [verb, '--', unit], { stdin: 'ignore' })
  } catch (error) {
    const stderr = (error as { stderr?: unknown }).stderr
    const why =
      errnoOf(error) === 'ENOENT'
        ? 'there is no systemctl on this machine'
        : typeof stderr === 'string' && stderr !== ''
          ? stderr.trim()
          : messageOf(error)
    throw new NexusError('failed', 'service_failed', `systemctl could not ${verb} ${unit}: ${why}`, {
      hint: `${hint}systemctl status ${unit}`,
      cause: error,
    })
  }
}
