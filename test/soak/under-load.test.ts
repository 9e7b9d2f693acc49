import { it } from 'vitest'
import { backUpBusyServer } from '../sources/postgres/busy-server.js'

it('twenty base backups in a row succeed under load although the server keeps next to no WAL', () =>
  backUpBusyServer(20))
