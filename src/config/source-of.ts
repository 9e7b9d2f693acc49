import type { SourceDocument } from './schema-sources.js'
import {
  defaultChainPolicy,
  defaultHookTimeout,
  type HookCommand,
  type HookSettings,
  type KeepPolicy,
  type RepositorySettings,
  type SourceSettings,
} from './settings.js'

/**
 * A source as it was written, with every default filled in.
 * @param file the configuration file
 * @param copies further repositories by name; a run that was given one repository with `--repo` has none
 */
export function sourceOf(
  name: string,
  value: SourceDocument,
  {
    repository,
    copies,
    file = null,
  }: { repository: RepositorySettings; copies: readonly RepositorySettings[]; file?: string | null },
): SourceSettings {
  const keep = keepOf(value.keep ?? {})
  const common = {
    name,
    repository,
    copies: (value.copies ?? []).flatMap(copy => {
      const found = copies.find(candidate => candidate.name === copy.repository)
      return found === undefined
        ? []
        : [{ repository: found, keep: copy.keep === undefined ? keep : keepOf(copy.keep) }]
    }),
    service: value.service ?? null,
    ...(value.stop_service === true ? { stopService: true } : {}),
    ...hooksOf(value, file),
    keep,
    chain: {
      maxAge: value.chain?.max_age ?? defaultChainPolicy.maxAge,
      maxLength: value.chain?.max_length ?? defaultChainPolicy.maxLength,
      maxRatio: value.chain?.max_ratio ?? defaultChainPolicy.maxRatio,
    },
    digestAlgorithm: value.digest ?? 'xxh3-128',
  }
  if (value.kind === 'sqlite') {
    const { kind, path, check = 'auto', checks = [] } = value
    return {
      kind,
      path,
      checks,
      ...(check === 'auto' ? {} : { check }),
      ...(value.allow_other_names === true ? { allowOtherNames: true } : {}),
      ...common,
    }
  }
  if (value.kind === 'files') {
    const { kind, paths, exclude = [], include = [] } = value
    return { kind, paths, exclude, include, ...filesRules(value), checks: [], ...common }
  }
  return {
    kind: value.kind,
    connection: value.connection ?? '',
    dataDirectory: value.data_directory ?? null,
    binDirectory: value.bin_directory ?? null,
    ...(value.max_rate === undefined ? {} : { maxRate: value.max_rate }),
    ...(value.checkpoint === undefined ? {} : { checkpoint: value.checkpoint }),
    ...(value.server_logs === true ? { serverLogs: true } : {}),
    ...(value.wal_copies === undefined ? {} : { walCopies: value.wal_copies }),
    checks: value.checks ?? [],
    ...common,
  }
}

function filesRules(value: Extract<SourceDocument, { kind: 'files' }>) {
  const { exclude_if_present: excludeIfPresent = [] } = value
  return {
    ...(value.one_file_system === true ? { oneFileSystem: true } : {}),
    ...(value.exclude_caches === true ? { excludeCaches: true } : {}),
    ...(excludeIfPresent.length > 0 ? { excludeIfPresent } : {}),
    ...(value.sqlite === true ? { sqlite: true } : {}),
  }
}

function hooksOf({ before, after }: SourceDocument, file: string | null): { hooks?: HookSettings } {
  if (before === undefined && after === undefined) return {}
  return { hooks: { before: hookOf(before), after: hookOf(after), file } }
}

function hookOf(hook: SourceDocument['before']): HookCommand | null {
  if (hook === undefined) return null
  const { command, timeout = defaultHookTimeout, user } = hook
  return { command, timeout, ...(user === undefined ? {} : { user }) }
}

/** A policy without the keys that were not written. */
function keepOf(keep: { [rule in keyof KeepPolicy]?: number | undefined }): KeepPolicy {
  return Object.fromEntries(Object.entries(keep).filter((entry): entry is [string, number] => entry[1] !== undefined))
}
