import { defineConfig, type Plugin } from 'vitest/config'

const root = new URL('..', import.meta.url)

/** Threads are started from a file of their own, which Node can only load compiled: from dist, as in production. */
const compiledWorkers: Plugin = {
  name: 'compiled-workers',
  // Before the types are stripped, which changes the quotes.
  enforce: 'pre',
  transform(code, id) {
    const path = id.startsWith(`${root.pathname}src/`) ? id.slice(`${root.pathname}src/`.length) : undefined
    if (path === undefined) return null
    const base = new URL(`dist/${path}`, root)
    return code.replace(/new URL\('(\.\/[a-z-]+-worker\.js)', import\.meta\.url\)/g, (_, name) => {
      return `new URL('${new URL(name, base).href}')`
    })
  },
}

const results = process.env.VITEST_RESULTS

export default defineConfig({
  plugins: [compiledWorkers],
  test: {
    root: root.pathname,
    globalSetup: new URL('global-setup.ts', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    exclude: ['test/soak/**', '**/node_modules/**'],
    reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: results }]],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      thresholds: { lines: 85 },
    },
  },
})
