// Joins the compiled modules of the command into few files. Node takes longer to find, read and link three hundred of
// them than a small backup takes. The compiled modules stay: threads are started from them.
import { rmSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const target = `${dist}bundle/`
/** Packages that come in many modules and with nothing compiled; all others are loaded from node_modules. */
const joined = /^(commander|valibot|yaml|fastest-levenshtein|execa)$/

const places = {
  name: 'places',
  transform(code, id) {
    if (!id.startsWith(dist)) return null
    // Files beside a module stay beside it. What is required when it is needed is joined all the same.
    const there = JSON.stringify(`../${relative(dist, id)}`)
    return code
      .replaceAll("createRequire(import.meta.url)('yaml')", "require('yaml')")
      .replaceAll('import.meta.url', `new URL(${there}, import.meta.url).href`)
  },
}

rmSync(target, { recursive: true, force: true })
const bundle = await rolldown({
  input: { main: `${dist}cli/main.js` },
  platform: 'node',
  external: (id, importer) => /^[^./]/.test(id) && importer?.startsWith(dist) && !joined.test(id),
  plugins: [places],
})
await bundle.write({ dir: target, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' })
await bundle.close()
