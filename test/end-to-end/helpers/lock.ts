import { printed, program, type Running, startProcess } from './run.js'

/** Another run of the same host that holds a lock of a source until it is ended, as a process of its own. */
export async function lockHeld(
  { repository, state }: { repository: string; state: string },
  name: 'writer' | 'delete',
  mode: 'exclusive' | 'shared',
  purpose: string,
  source = 'app',
): Promise<Running> {
  const args = [repository, state, name, mode, purpose, source]
  const holder = startProcess(process.execPath, [program('hold-lock'), ...args])
  await printed(holder, 'held')
  return holder
}
