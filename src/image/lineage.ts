import { blocksOfFile, type FileLayout } from './file-layout.js'

/**
 * What the files of an image and of the images before it have become in the newest one. Members of a chain are read
 * newest first, so a file's number is led on from image to image through `base`.
 */
export class Lineage {
  readonly #newest: FileLayout
  /** By number in the image just looked at: the file in the newest image, -1 for none. */
  #targets: Int32Array
  /** By number in the newest image: blocks that the file has had in every image since; what lies beyond is not its. */
  readonly #limits: Float64Array

  constructor(newest: FileLayout) {
    this.#newest = newest
    this.#targets = new Int32Array(newest.count)
    this.#limits = new Float64Array(newest.count)
    for (let file = 0; file < newest.count; file += 1) {
      this.#targets[file] = file
      this.#limits[file] = blocksOfFile(newest, file)
    }
  }

  /** Goes from `image`, the one just looked at, to its parent. Returns what is wrong with the bases, or null. */
  back(image: FileLayout, parent: FileLayout): string | null {
    const problem = basesProblem(image, parent)
    if (problem !== null) return problem
    const targets = new Int32Array(parent.count).fill(-1)
    for (let file = 0; file < image.count; file += 1) {
      const base = image.baseOf(file)
      const target = this.#targets[file] ?? -1
      if (base < 0 || target < 0) continue
      targets[base] = target
      this.#limits[target] = Math.min(this.#limits[target] ?? 0, blocksOfFile(parent, base))
    }
    this.#targets = targets
    return null
  }

  /** The newest image's file that this one has become; -1 for none. */
  target(file: number): number {
    return this.#targets[file] ?? -1
  }

  /** The row in the newest image's table of a block of the image just looked at; null when it is no longer in it. */
  row(file: number, block: number): number | null {
    const target = this.#targets[file] ?? -1
    if (target < 0 || block >= (this.#limits[target] ?? 0)) return null
    return this.#newest.firstRowOf(target) + block
  }
}

/** Why an image cannot be a change of its parent; null when it can. */
export function basesProblem(image: FileLayout, parent: FileLayout): string | null {
  const taken = new Uint8Array(parent.count)
  for (let file = 0; file < image.count; file += 1) {
    const base = image.baseOf(file)
    if (base < 0) continue
    if (base >= parent.count) return 'continues a file that its parent does not have'
    if (taken[base] === 1) return 'continues a file of its parent twice'
    if (image.blockSizeOf(file) !== parent.blockSizeOf(base)) return 'has blocks of another size than its parent'
    taken[base] = 1
  }
  return null
}
