import { NexusError } from '../errors.js'
import type { Handler } from './invocation.js'

type Loader = () => Promise<Handler>

/** Each command's code is loaded only when that command runs. */
const loaders: Readonly<Record<string, Loader>> = {
  create: async () => (await import('./commands/create.js')).runCreate,
  list: async () => (await import('./commands/list.js')).runList,
  verify: async () => (await import('./commands/verify.js')).runVerify,
  restore: async () => (await import('./commands/restore.js')).runRestore,
  prune: async () => (await import('./commands/prune.js')).runPrune,
  'pitr points': async () => (await import('./commands/pitr-points.js')).runPitrPoints,
  'pitr restore': async () => (await import('./commands/pitr-restore.js')).runPitrRestore,
  'pitr check': async () => (await import('./commands/pitr-check.js')).runPitrCheck,
  'pitr archive': async () => (await import('./commands/pitr-archive.js')).runPitrArchive,
  'pitr fetch': async () => (await import('./commands/pitr-fetch.js')).runPitrFetch,
  diff: async () => (await import('./commands/diff.js')).runDiff,
  copy: async () => (await import('./commands/copy.js')).runCopy,
  'config check': async () => (await import('./commands/config-check.js')).runConfigCheck,
  'config show': async () => (await import('./commands/config-show.js')).runConfigShow,
  'keys list': async () => (await import('./commands/keys-list.js')).runKeysList,
  'keys add': async () => (await import('./commands/keys-add.js')).runKeysAdd,
  'keys remove': async () => (await import('./commands/keys-remove.js')).runKeysRemove,
  'keys rotate': async () => (await import('./commands/keys-rotate.js')).runKeysRotate,
  'keys test': async () => (await import('./commands/keys-test.js')).runKeysTest,
  'keys create': async () => (await import('./commands/keys-create.js')).runKeysCreate,
  'keys recovery': async () => (await import('./commands/keys-recovery.js')).runKeysRecovery,
  'keys distrust': async () => (await import('./commands/keys-distrust.js')).runKeysDistrust,
  'keys trust': async () => (await import('./commands/keys-trust.js')).runKeysTrust,
  completion: async () => (await import('./commands/completion.js')).runCompletion,
}

/** The handler of a declared command. */
export async function loadHandler(name: string): Promise<Handler> {
  const loader = loaders[name]
  if (loader === undefined) throw new NexusError('usage', 'unknown_command', `unknown command '${name}'`)
  return await loader()
}
