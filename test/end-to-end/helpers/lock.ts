import { printed, program, type Running, startProcess } from './run.js'

/** Another run that holds a lock of a source until it is ended, as a process of its own. */
export async function lockHeld(
  repository: string,
  name: 'writer' | 'delete',
  mode: 'exclusive' | 'shared',
  purpose: string,
  source = 'app',
): Promise<Running> {
  const holder = startProcess(process.execPath, [program('hold-lock'), repository, name, mode, purpose, source])
  await printed(holder, 'held')
  return holder
}
