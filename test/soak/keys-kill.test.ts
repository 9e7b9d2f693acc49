import { describe, it } from 'vitest'
import {
  killAdds,
  killBeginnings,
  killKeyMaking,
  killRemovals,
  killRotations,
  killTrusts,
} from '../end-to-end/helpers/key-kills.js'
import { startS3 } from '../helpers/s3-server.js'

const server = await startS3()

describe.each([
  ['a directory', undefined],
  ['a bucket', server],
])(
  'SIGKILL at dozens of moments, in %s',
  (_, there) => {
    it('of keys rotate', () => killRotations(20, there))
    it('of keys add', () => killAdds(20, there))
    it('of keys add in a repository that is not encrypted', () => killBeginnings(20, there))
    it('of keys remove', () => killRemovals(20, there))
    it('of keys trust', () => killTrusts(20, there))
  },
  3_600_000,
)

it('SIGKILL at dozens of moments of keys create', () => killKeyMaking(60))
