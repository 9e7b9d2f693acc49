import { chmodSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { copy } from '../../../src/operations/copy.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { removeKey } from '../../../src/operations/keys/remove-key.js'
import { renewRoot } from '../../../src/operations/keys/renew-root.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { giveToNobody, openRoom, victimOf, whileExchanging } from '../../end-to-end/helpers/exchanger.js'
import { accessWith, encryptedApplication, keyFile } from '../sealing/encrypted.js'
import { restored } from '../trust/bench.js'

describe.skipIf(process.getuid?.() !== 0)('root, where the owner of a repository exchanges what lies in it,', () => {
  it('changes nothing of its own by any command about keys, by copies and by restores', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    await app.create({ type: 'full' })
    const { repository } = app.source
    const adding = { repository, recipients: [keyFile()], label: null }
    const { added } = await addKeys(app.context, app.journal, adding)
    const to = { name: 'copy', path: join(dirname(repository.path), 'copy') }
    const tasks = [{ source: 'app', from: repository, to }]
    await copy(app.context, app.journal, { tasks, init: true, dryRun: false })
    for (const path of [repository.path, to.path, app.context.stateDirectory]) giveToNobody(path)
    chmodSync(dirname(repository.path), 0o755)
    const owner = { ...app.context, keys: accessWith(key) }
    const { id } = await hostSigner(app.context)
    const on = { repository, dryRun: false }
    const victim = victimOf(openRoom())
    const before = victim.picture()
    const work: Record<string, () => Promise<unknown>> = {
      create: () => app.create({ init: false }),
      copy: () => copy(app.context, app.journal, { tasks, init: false, dryRun: false }),
      restore: () => restored(app, 'app'),
      add: () => addKeys(owner, app.journal, { repository, recipients: [keyFile()], label: null }),
      trust: () => trustHost(owner, app.journal, { ...on, id }),
      rotate: () => rotateKeys(owner, app.journal, { ...on, without: added }),
      recovery: () => renewRoot(owner, app.journal, { repository, dryRun: false }),
      remove: () => removeKey(owner, app.journal, { ...on, id: added[0] ?? '', force: true }),
      distrust: () => distrustHost(owner, app.journal, { ...on, id, all: false }),
    }
    const kept = ['nexus-backup.json', 'SHA256SUMS']
    const defects: string[] = []
    await whileExchanging(victim, [repository.path, to.path, app.context.stateDirectory], kept, async () => {
      for (const [name, run] of Object.entries(work)) {
        await run().catch((error: unknown) => {
          if (!(error instanceof NexusError)) defects.push(`${name}: ${error}`)
        })
      }
    })
    expect(victim.picture()).toEqual(before)
    expect(defects).toEqual([])
  }, 240_000)
})
