import { sep } from 'node:path'
import type { Plugin, ViteUserConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

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

/**
 * What takes longest begins first, so that at the end no core is left alone with it: a fresh clone knows no durations.
 * Tests of whole programs take minutes, those with a server seconds.
 */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const kinds = ['end-to-end', 'postgres', 'operations'].map(name => `${sep}${name}${sep}`)
    const rank = ({ moduleId }: TestSpecification) => {
      const at = kinds.findIndex(kind => moduleId.includes(kind))
      return at < 0 ? kinds.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

const results = process.env.VITEST_RESULTS

/** What every run of tests has in common. */
export const shared: ViteUserConfig = {
  plugins: [compiledWorkers],
  test: {
    root: root.pathname,
    globalSetup: new URL('global-setup.ts', import.meta.url).pathname,
    exclude: ['**/node_modules/**'],
    reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: results }]],
    // One for each core: by default there is one fewer, and much of the time is waited for processes.
    maxWorkers: '100%',
    sequence: { sequencer: LongestFirst },
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
}
