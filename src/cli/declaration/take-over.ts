import type { OptionDeclaration } from './types.js'

/** Of the commands that write into a repository of a single writer. */
export const takeOver: OptionDeclaration = {
  name: 'take-over',
  description:
    'Become the host that writes into a repository with locking: single-writer; the former one is refused from then on',
}
