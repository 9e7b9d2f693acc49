import base from '../vitest.config.js'

/** What takes long: hunting for what happens once in a thousand times. `npm run soak`; SOAK_MINUTES sets the length. */
export default {
  ...base,
  test: {
    ...base.test,
    include: ['test/soak/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
    testTimeout: 3_600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
  },
}
