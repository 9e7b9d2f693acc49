import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { fileHistory } from '../../operations/list/file-history.js'
import { listFiles } from '../../operations/list/list-files.js'
import { roomsOf } from '../../operations/rooms.js'
import type { Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { counted, humanBytes, humanTime } from '../output/format.js'
import { fileLine, versionLines } from '../output/render-files.js'
import { switchOption, textOption } from '../parsed.js'
import { damagedBackups } from './damaged-backups.js'

/**
 * `list BACKUP|SOURCE --files`, `list BACKUP --files PATTERN`: the files of one backup; `list [SOURCE] --files PATTERN`: the
 * backups that hold a file.
 */
export async function runListFiles(invocation: Invocation): Promise<Outcome> {
  const { options, operands } = invocation
  const [named] = operands
  const pattern = textOption(options, 'files')
  const other = ['all', 'journal'].find(name => switchOption(options, name))
  if (other !== undefined) {
    throw new NexusError('usage', 'options_exclude', `--files and --${other} exclude each other`, {
      hint: 'choose one',
    })
  }
  if (named === undefined && pattern === undefined) {
    throw new NexusError('usage', 'missing_argument', '--files needs a backup to look into, or a pattern to look for', {
      hint: "one of:\n  nexus-backup list BACKUP|SOURCE --files\n  nexus-backup list --files '*.pdf'",
    })
  }
  const settings = await invocation.settings()
  if (pattern !== undefined && (named === undefined || (await isSource(settings, named)))) {
    return await versions(invocation, settings, { source: named, pattern })
  }
  return await files(invocation, settings, { backup: named ?? '', pattern })
}

async function isSource({ repositories }: Settings, name: string): Promise<boolean> {
  return (await roomsOf(repositories, undefined)).some(room => room.name === name)
}

async function files(
  invocation: Invocation,
  { repositories, timezone }: Settings,
  wanted: { backup: string; pattern: string | undefined },
): Promise<Outcome> {
  const { files: found, ...result } = await listFiles(await invocation.context(), { repositories, ...wanted })
  const { id, counts, captured_at: at } = result
  const { entries, files: count, bytes } = counts
  const summary = `${entries} ${entries === 1 ? 'entry' : 'entries'}, ${counted(count, 'file')} with ${humanBytes(bytes)}`
  return {
    document: result,
    rows: {
      name: 'files',
      *items() {
        for (const file of found()) yield { json: () => file, text: () => fileLine(file, timezone) }
      },
    },
    text: () => `${summary}, in ${id}, captured at ${humanTime(at, timezone)}\n`,
    always: true,
    failures: [],
  }
}

async function versions(
  invocation: Invocation,
  { repositories, timezone }: Settings,
  wanted: { source: string | undefined; pattern: string },
): Promise<Outcome> {
  const { versions: found, ...result } = await fileHistory(await invocation.context(), { repositories, ...wanted })
  return {
    document: result,
    rows: {
      name: 'versions',
      *items() {
        for (const version of found) yield { json: () => version, text: () => versionLines(version, timezone) }
      },
    },
    text: () => '',
    always: true,
    failures: damagedBackups(result.problems),
  }
}
