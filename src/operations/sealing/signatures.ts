import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { chainOf } from '../chain-members.js'
import type { Selected } from '../select.js'
import { shellQuoted } from '../shell.js'
import type { ApartBackup } from '../trust/judged.js'
import { keyringOf } from '../trust/keyring-of.js'
import { warnOnce } from '../trust/warn-once.js'

/**
 * Before a backup is restored: everybody who may write into the repository can seal to its public key, so only the
 * signatures tell who made its chain. What is not ours is restored only where the operator says so, and never silently.
 * @throws NexusError as `notOurs`
 */
export async function assertTrusted(
  context: Pick<Context, 'warn' | 'stateDirectory' | 'keys'>,
  { room, survey, manifest, untrusted = false }: Selected,
): Promise<void> {
  const keyring = await keyringOf(context, room.repository)
  const apart = new Map(survey.apart.map(one => [one.member.id, one]))
  const members = [...survey.apart.map(({ member }) => member), ...survey.manifests]
  for (const { id, encryption } of chainOf(manifest, new Map(members.map(member => [member.id, member])))) {
    const stranger = apart.get(id)
    if (stranger !== undefined && !untrusted) throw notOurs(stranger)
    if (stranger !== undefined)
      warnOnce(context, `${id} ${stranger.problem}; it is restored because --untrusted says so`)
    else if (encryption === undefined && keyring.isEncrypted) {
      warnOnce(context, `${id} is not encrypted: it is from before ${room.repository.location} had keys`)
    } else if (encryption === undefined && context.keys.means.length > 0) {
      warnOnce(context, `${id} is not encrypted, though a key is given for ${room.repository.location}`)
    }
  }
}

/** The refusal to restore what is not ours: damage where it is not what was signed, else for safety. */
export function notOurs(apart: ApartBackup): NexusError {
  const { trust, problem } = apart
  const { id, source } = apart.member
  const anyhow = `to restore it all the same: nexus-backup restore ${id} --untrusted --to PATH`
  if (trust === 'badly-signed') {
    return new NexusError('damage', 'manifest_forged', `the manifest of ${id} is not what was written: it ${problem}`, {
      hint: `somebody may have changed the repository: nexus-backup-recovery(7), suspected intruder; ${anyhow}`,
    })
  }
  return new NexusError('refused', 'backup_untrusted', `${id} ${problem}`, {
    hint: `see what there is: nexus-backup list ${shellQuoted(source)}; ${trust === 'stranger' ? `${trustHint(apart)}; ` : ''}${anyhow}`,
  })
}

/** What lets the host of a stranger's backup in: `keys trust` refuses a key that is distrusted, and helps no other repository. */
export function trustHint({ member: { encryption }, isDistrusted = false, isOfAnother = false }: ApartBackup): string {
  if (isOfAnother) return 'find out who put it there; restore it from the repository that it was made for'
  if (isDistrusted) return 'its key is distrusted for good (nexus-backup-keys(1))'
  return `if its host is yours, let it in: nexus-backup keys trust ${encryption?.signer ?? 'KEY'}`
}
