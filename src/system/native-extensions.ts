import { createRequire } from 'node:module'

/** What is called of fs-native-extensions: its binary alone, for its JavaScript takes 25 ms to find it. */
interface Binding {
  tryLock(fd: number, offset: number, length: number, exclusive: boolean): void
  listAttrsSync(fd: number): string[]
  /** Null where there is no attribute of that name. */
  getAttrSync(fd: number, name: string): ArrayBuffer | null
  setAttrSync(fd: number, name: string, value: ArrayBufferLike, offset: number, length: number): void
  removeAttrSync(fd: number, name: string): void
}

let loaded: Binding | null | undefined

/** The binary, or null where there is none for this machine, or none that its C library can load. */
export function nativeExtensions(): Binding | null {
  loaded ??= load()
  return loaded
}

function load(): Binding | null {
  const name = `fs-native-extensions/prebuilds/${process.platform}-${process.arch}/fs-native-extensions.node`
  try {
    return createRequire(import.meta.url)(name) as Binding
  } catch {
    return null
  }
}
