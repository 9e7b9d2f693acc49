import { defineConfig } from 'vitest/config'
import { shared } from './vitest.shared.js'

/** Suites that also run on encrypted repositories in a bucket every time; `npm run suites` runs all on every kind. */
const onOtherKinds = ['contract', 'pitr', 'wal-retention']

export default defineConfig({
  ...shared,
  test: {
    ...shared.test,
    projects: [
      {
        extends: true,
        test: { name: 'tests', include: ['test/**/*.test.ts'], exclude: ['test/soak/**', '**/node_modules/**'] },
      },
      {
        extends: true,
        test: {
          name: 's3-encrypted',
          include: onOtherKinds.map(name => `test/end-to-end/${name}.test.ts`),
          env: { NEXUS_TEST_REPOSITORY: 's3-encrypted' },
        },
      },
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      thresholds: { lines: 85 },
    },
  },
})
