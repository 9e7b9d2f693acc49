import type { Context } from '../context.js'
import type { SourceRoom } from '../repository/types.js'
import { survey } from './survey.js'

/**
 * What to restore where a backup cannot be used, as the words of a hint: the newest whose content is proven, and a newer
 * one into which nobody has looked yet, with the command that does.
 *
 * @returns undefined where there is none
 */
export async function insteadHint(
  context: Context,
  room: SourceRoom,
  { except }: { except?: string } = {},
): Promise<string | undefined> {
  const { manifests, broken, proven, unsound } = await survey(room, context)
  const whole = manifests.filter(({ id }) => id !== except && !broken.has(id))
  const newest = whole.findLast(({ id }) => !unsound.has(id)) ?? whole.at(-1)
  if (newest === undefined) return undefined
  const sound = whole.findLast(({ id }) => proven.has(id))
  if (sound === undefined || sound.id === newest.id) {
    const doubt =
      sound === undefined ? `; nobody has looked into its content: nexus-backup verify ${newest.id} --drill` : ''
    return `the newest backup that can be restored is ${newest.id}; name it to use it${doubt}`
  }
  const newer = `${newest.id} is newer, and nobody has looked into its content: nexus-backup verify ${newest.id} --drill`
  return `the newest proven backup is ${sound.id}; name it to use it; ${newer}`
}
