import { defineConfig } from 'vitest/config'
import { shared } from './vitest.shared.js'

/**
 * Suites that also run on other kinds of repositories every time: those in which a race would show. `npm run suites`
 * runs all on every kind. A bucket that is encrypted has all that a plain one has, leases and listings.
 */
const onOtherKinds = {
  encrypted: ['concurrency'],
  's3-single-writer': ['concurrency'],
  's3-encrypted': ['concurrency'],
}

export default defineConfig({
  ...shared,
  test: {
    ...shared.test,
    projects: [
      {
        extends: true,
        test: { name: 'tests', include: ['test/**/*.test.ts'], exclude: ['test/soak/**', '**/node_modules/**'] },
      },
      ...Object.entries(onOtherKinds).map(([kind, suites]) => ({
        extends: true as const,
        test: {
          name: kind,
          include: suites.map(name => `test/end-to-end/${name}.test.ts`),
          env: { NEXUS_TEST_REPOSITORY: kind, NEXUS_TEST_SHORT: '1' },
        },
      })),
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      thresholds: { lines: 85 },
    },
  },
})
