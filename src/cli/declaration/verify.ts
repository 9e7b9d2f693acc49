import { exitsWith } from './exits.js'
import type { CommandDeclaration } from './types.js'

export const verifyCommand: CommandDeclaration = {
  name: 'verify',
  summary: 'prove that backups can be restored',
  description: [
    'Read every stored byte and compare it with its checksum, decode every frame, compare every block with its digest, and see that each chain is complete.',
    'Of a PostgreSQL cluster see as well that its log has no gap. With --drill, restore into scratch space, run the checks there, for a cluster in a server of its own, and record how long it took.',
  ],
  group: 'main',
  arguments: [
    {
      name: 'BACKUP|SOURCE',
      required: false,
      variadic: true,
      description: 'An id, the beginning of one, or a source for its latest; everything when none is named',
      complete: 'source',
    },
  ],
  options: [{ name: 'drill', description: 'Restore into scratch space, check there, and measure the time' }],
  examples: [
    { does: 'Everything', command: 'nexus-backup verify' },
    { does: 'The weekly restore test of one source', command: 'nexus-backup verify itsm --drill' },
    { does: 'What that would read, and how much', command: 'nexus-backup verify itsm --drill --dry-run' },
    { does: 'One backup', command: 'nexus-backup verify 20251103T030000.123Z-full-7f3a' },
  ],
  exits: exitsWith({
    0: 'everything is whole',
    3: 'something could not be read, a drill could not be carried out, or recover.mjs is of a later version than this program; what could be read is whole',
    4: 'damage found, a backup or WAL that is not ours, or a recover.mjs or RECOVER.txt that is not genuine; the findings name the parts and the backups that depend on them; or a drill found captured content wrong',
    5: 'no such backup, or nothing to verify',
  }),
}
