import { execFileSync } from 'node:child_process'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forOthers } from './checkout.js'
import { temporaryDirectory } from './temporary.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Compiles modules of src, with all they import, into a directory of the running test, for processes of their own:
 * Node itself runs no TypeScript. Returns the directory, laid out like src; types are checked elsewhere.
 * @param modules paths below src, such as `journal/journal.ts`
 */
export function compiled(modules: string[]): string {
  const directory = temporaryDirectory()
  const options = { rootDir: join(root, 'src'), outDir: directory, noCheck: true, declaration: false, sourceMap: false }
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { ...options, inlineSources: false, typeRoots: [join(root, 'node_modules/@types')] },
      files: modules.map(module => join(root, 'src', module)),
      include: [],
    }),
  )
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
  // A process of another user reaches them too.
  symlinkSync(forOthers(join(root, 'node_modules')), join(directory, 'node_modules'))
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['--project', directory], { stdio: 'pipe' })
  return directory
}
