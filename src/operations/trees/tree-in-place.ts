import { dirname } from 'node:path'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { namingFullDisk } from '../../sources/sqlite/disk-full.js'
import { nameExists as exists } from '../../system/names.js'
import { thisProcess } from '../restoring-process.js'
import { withServiceStopped } from '../service.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import type { KeptEntry } from './kept-entries.js'
import { forgetKept, rememberKept } from './kept-memory.js'
import { createTreeRecord, removeTreeRecord, replaceTreeRecord, type TreeRecord } from './tree-record.js'
import { dropScratch, moveBack, moveForward, type TreeMove } from './tree-swap.js'
import { assertReplaceable } from './tree-targets.js'

export interface TreePlacement {
  /** The source's name, for messages. */
  source: string
  /** What takes whose place; at least one. Targets are real paths. */
  moves: readonly TreeMove[]
  /** Whether what is staged is made by `prepare` and removed when nothing comes of it; false for a rollback. */
  disposable: boolean
  /** Further paths beside the targets that `prepare` may make and that are removed in the end. */
  scratch: readonly string[]
  service: string | null
  /** Asked when all is staged and the service is stopped: what of the targets stays in its place. */
  kept?: () => KeptEntry[]
}

/** What came of one target. */
export interface PlacedTree {
  target: string
  /** Where lies what stood there; null when nothing did. */
  previous: string | null
}

/**
 * Prepares directories (or single files), and puts all of them in their places or none; the service is stopped only for
 * the renames. A record beside the first target tells the next run what to do when this one is killed: before the first
 * rename everything is undone, after it everything is finished. Between the two renames of a target its path is missing
 * for a moment: Linux has an exchanging rename, but Node does not offer it.
 *
 * @param prepare makes and proves what is staged, each in the target's own directory; a target for which it stages
 *   nothing stays as it is
 * @throws NexusError as `assertReplaceable`, `locked` when another restore has begun
 */
export async function putTreesInPlace(
  context: Context,
  placement: TreePlacement,
  prepare: () => Promise<void>,
): Promise<PlacedTree[]> {
  const { source, moves, service, disposable, scratch } = placement
  assertReplaceable(source, moves, service)
  const record: TreeRecord = {
    format: 1,
    kind: 'trees',
    ...thisProcess(),
    home: moves[0]?.target ?? '',
    moves: moves.map(move => ({ ...move, replaces: exists(move.target) })),
    kept: [],
    disposable,
    scratch: [...scratch],
    service: null,
    phase: 'staging',
  }
  await claim(context, source, { record, service })
  const run = new Run(record)
  try {
    await namingFullDisk([...new Set(moves.map(({ target }) => dirname(target)))], prepare)
    context.signal.throwIfAborted()
    if (service !== null) await run.write({ service })
    const swap = async () => {
      context.signal.throwIfAborted()
      // Much may have happened since, and a service that was stopped may have left its server behind.
      assertReplaceable(source, moves, null)
      return await run.swap(placement.kept?.() ?? [])
    }
    return await withServiceStopped(service, swap, placed => {
      const asides = placed.flatMap(({ previous }) => previous ?? [])
      const where = asides.length === 0 ? '' : ` and what stood there lies at ${asides.join(', ')}`
      return `${placed.map(({ target }) => target).join(', ')} is replaced${where}`
    })
  } finally {
    run.end()
  }
}

/** Writes the record down; another restore may have begun since this one looked, and is waited for in its turn. */
async function claim(
  context: Context,
  source: string,
  { record, service }: { record: TreeRecord; service: string | null },
): Promise<void> {
  for (;;) {
    try {
      return createTreeRecord(record)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'restore_running') throw error
      await finishInterruptedTrees(context, { name: source, paths: [record.home], service })
    }
  }
}

/** A restore on its way, and its record. */
class Run {
  #record: TreeRecord
  /** Nothing is half-way: the record and what was made can go. */
  #settled = true

  constructor(record: TreeRecord) {
    this.#record = record
  }

  async write(changes: Partial<TreeRecord>): Promise<void> {
    const record = { ...this.#record, ...changes }
    replaceTreeRecord(record)
    this.#record = record
  }

  async swap(wanted: readonly KeptEntry[]): Promise<PlacedTree[]> {
    const moves = this.#record.moves
      .filter(({ staged }) => exists(staged))
      .map(move => ({ ...move, replaces: exists(move.target) }))
    if (moves.length === 0) throw new NexusError('failed', 'nothing_staged', 'there is nothing to put in place')
    const kept = wanted.filter(({ target }) => moves.some(move => move.target === target && move.replaces))
    try {
      rememberKept(kept)
      await this.write({ phase: 'forward', moves, kept })
    } catch (error) {
      for (const { previous } of moves) forgetKept(previous)
      throw error
    }
    this.#settled = false
    try {
      await moveForward({ moves, kept })
    } catch (error) {
      await this.#undo(error)
      throw error
    }
    this.#settled = true
    return moves.map(({ target, previous, replaces }) => ({ target, previous: replaces ? previous : null }))
  }

  /** What cannot be undone now is left to the next run, which has the record. */
  async #undo(why: unknown): Promise<void> {
    try {
      await this.write({ phase: 'back' })
      await moveBack(this.#record)
      for (const { previous } of this.#record.moves) forgetKept(previous)
      this.#settled = true
    } catch (error) {
      const message = `${messageOf(why)}; and it could not be undone: ${messageOf(error)}`
      throw new NexusError('failed', 'restore_half_done', message, {
        hint: 'remove the cause and run any command for this source again: it undoes the restore first',
        cause: error,
      })
    }
  }

  end(): void {
    if (!this.#settled) return
    dropScratch(this.#record)
    removeTreeRecord(this.#record)
  }
}
