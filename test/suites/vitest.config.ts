import { shared } from '../vitest.shared.js'

const SQLITE = 'concurrency contract damage disk-full hostile kill restore signals storm users'
const CLUSTER =
  'cluster cluster-damage cluster-kill pitr pitr-killed pitr-places pitr-timelines wal wal-encryption wal-retention wal-server'

/** The suites that say the same of every kind of repository: `npm run suites` runs them on each. */
export default {
  ...shared,
  test: {
    ...shared.test,
    include: `${SQLITE} ${CLUSTER} files`.split(' ').map(name => `test/end-to-end/${name}.test.ts`),
  },
}
