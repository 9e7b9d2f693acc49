import { shared } from '../vitest.shared.js'

/** What takes long: hunting for what happens once in a thousand times. `npm run soak`; SOAK_MINUTES sets the length. */
export default {
  ...shared,
  test: {
    ...shared.test,
    include: ['test/soak/**/*.test.ts'],
    testTimeout: 3_600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
  },
}
