/** One algorithm alone: every thread loads it, and loading the index of hash-wasm takes ten times as long. */
declare module 'hash-wasm/dist/xxhash128.umd.min.js' {
  import type { createXXHash128 } from 'hash-wasm'

  const hashWasm: { createXXHash128: typeof createXXHash128 }
  export default hashWasm
}
