import type { S3Settings } from '../repository/storage/s3/settings.js'
import { formatDuration } from './duration.js'
import { describeEncryption } from './encryption.js'
import type {
  CopySettings,
  FilesSourceSettings,
  HookCommand,
  HookSettings,
  KeepPolicy,
  RepositorySettings,
  Settings,
  SourceSettings,
} from './settings.js'

/** The settings in effect in the form of a configuration file, every default filled in. */
export interface DescribedSettings {
  timezone: string
  state: string
  repositories: Record<string, Record<string, unknown>>
  sources: Record<string, Record<string, unknown>>
}

/** Settings as `config show` prints them: a valid configuration of the same meaning. */
export function describeSettings(settings: Settings): DescribedSettings {
  return {
    timezone: settings.timezone,
    state: settings.stateDirectory,
    repositories: Object.fromEntries(
      [...settings.repositories, ...settings.copyRepositories].map(place => [place.name, describePlace(place)]),
    ),
    sources: Object.fromEntries(settings.sources.map(source => [source.name, describeSource(source)])),
  }
}

function describePlace({ path, s3, encryption, trustedEpochs }: RepositorySettings): Record<string, unknown> {
  return {
    ...(s3 === undefined ? { path } : describeBucket(s3)),
    ...(trustedEpochs === undefined ? {} : { trusted_epochs: [...trustedEpochs] }),
    ...(encryption === undefined ? {} : { encryption: describeEncryption(encryption) }),
  }
}

/** As the configuration takes it: in the largest unit that it is a whole number of. */
function formatSize(bytes: number): string {
  const units = [
    ['MiB', 1024 ** 2],
    ['MB', 1000 ** 2],
    ['KiB', 1024],
    ['kB', 1000],
  ] as const
  const [unit, size] = units.find(([, factor]) => bytes % factor === 0) ?? ['kB', 1000]
  return `${bytes / size}${unit}`
}

function describeBucket(s3: S3Settings): { s3: Record<string, unknown> } {
  const { bucket, prefix, region, endpoint, storageClass, forcePathStyle, sse, kmsKeyId, caFile, profile, timeout } = s3
  const { objectLock, partSize, maxParts, concurrency, locking } = s3
  const keys = {
    bucket,
    prefix,
    region,
    endpoint,
    storage_class: storageClass,
    force_path_style: forcePathStyle,
    sse,
    kms_key_id: kmsKeyId,
    ca_file: caFile,
    object_lock: objectLock && { mode: objectLock.mode.toLowerCase(), days: objectLock.days },
    profile,
    timeout: timeout === undefined ? undefined : formatDuration(timeout),
    as_of: s3.asOf?.toISOString(),
    part_size: partSize === undefined ? undefined : formatSize(partSize),
    max_parts: maxParts,
    concurrency,
    locking,
  }
  return { s3: Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined && value !== '')) }
}

function describeSource(source: SourceSettings): Record<string, unknown> {
  return {
    ...describeContent(source),
    repository: source.repository.name,
    ...(source.copies.length === 0 ? {} : { copies: source.copies.map(describeCopy) }),
    ...(source.service === null ? {} : { service: source.service }),
    ...(source.stopService === true ? { stop_service: true } : {}),
    ...describeHooks(source.hooks),
    keep: describeKeep(source.keep),
    chain: {
      max_age: formatDuration(source.chain.maxAge),
      max_length: source.chain.maxLength,
      max_ratio: source.chain.maxRatio,
    },
    digest: source.digestAlgorithm,
  }
}

function describeHooks(hooks: HookSettings | undefined): Record<string, unknown> {
  const described = (name: string, hook: HookCommand | null | undefined) =>
    hook
      ? {
          [name]: {
            command: [...hook.command],
            timeout: formatDuration(hook.timeout),
            ...(hook.user === undefined ? {} : { user: hook.user }),
          },
        }
      : {}
  return { ...described('before', hooks?.before), ...described('after', hooks?.after) }
}

function describeCopy({ repository, keep }: CopySettings): Record<string, unknown> {
  return { repository: repository.name, keep: describeKeep(keep) }
}

/** What is protected, in the keys of its kind. */
function describeContent(source: SourceSettings): Record<string, unknown> {
  const { kind, checks } = source
  if (kind === 'sqlite') {
    const { path, allowOtherNames, check = 'auto' } = source
    return { kind, path, ...(allowOtherNames === true ? { allow_other_names: true } : {}), check, checks }
  }
  if (kind === 'files') return { kind, ...describeFiles(source) }
  const { connection, dataDirectory, binDirectory, maxRate, checkpoint, serverLogs, walCopies } = source
  return {
    kind,
    connection,
    ...(dataDirectory === null ? {} : { data_directory: dataDirectory }),
    ...(binDirectory === null ? {} : { bin_directory: binDirectory }),
    ...(maxRate === undefined ? {} : { max_rate: formatSize(maxRate) }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(serverLogs === true ? { server_logs: true } : {}),
    ...(walCopies === undefined ? {} : { wal_copies: walCopies }),
    checks,
  }
}

function describeFiles(source: FilesSourceSettings): Record<string, unknown> {
  const { paths, exclude, include, oneFileSystem, excludeCaches, excludeIfPresent, sqlite } = source
  return {
    paths,
    exclude,
    include,
    ...(oneFileSystem === true ? { one_file_system: true } : {}),
    ...(excludeCaches === true ? { exclude_caches: true } : {}),
    ...(excludeIfPresent === undefined ? {} : { exclude_if_present: excludeIfPresent }),
    ...(sqlite === true ? { sqlite: true } : {}),
  }
}

function describeKeep({ within, pitr, ...counts }: KeepPolicy): Record<string, unknown> {
  return {
    ...counts,
    ...(within === undefined ? {} : { within: formatDuration(within) }),
    ...(pitr === undefined ? {} : { pitr: formatDuration(pitr) }),
  }
}
