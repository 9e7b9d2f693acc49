import { printed, program, type Running, startProcess } from './run.js'

/** Another run that holds a lock of the source `app` until it is ended, as a process of its own. */
export async function lockHeld(
  repository: string,
  name: 'writer' | 'delete',
  mode: 'exclusive' | 'shared',
  purpose: string,
): Promise<Running> {
  const holder = startProcess(process.execPath, [program('hold-lock'), repository, name, mode, purpose])
  await printed(holder, 'held')
  return holder
}
