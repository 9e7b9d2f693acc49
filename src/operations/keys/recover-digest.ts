import { sha256Of } from '../../repository/root-files.js'
import { recoveryFiles } from '../../repository/root-making.js'

/** SHA-256 of the recover.mjs that this program puts into repositories. */
export async function recoverDigest(): Promise<string> {
  const script = (await recoveryFiles()).get('recover.mjs')
  if (script === undefined) throw new Error('the program has no recover.mjs')
  return sha256Of(script)
}
