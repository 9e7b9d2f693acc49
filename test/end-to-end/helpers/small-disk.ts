import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Only root may mount; a container's root often may not. */
export const canMount = process.getuid?.() === 0 && mounts()

/** A file system of its own, of so many bytes, in memory; taken away when the test ends. */
export function smallDisk(path: string, bytes: number): string {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', path])
  })
  return path
}

/** Fills a file system up to so many bytes and returns what frees it again. */
export function fill(path: string, leave: number): () => void {
  const { bavail, bsize } = statfsSync(path)
  const file = join(path, '.ballast')
  writeFileSync(file, Buffer.alloc(Math.max(0, bavail * bsize - leave)))
  return () => rmSync(file)
}

/** Fills a file system to its end while somebody else writes there too, and returns what frees it again. */
export function fillUp(path: string): () => void {
  const file = join(path, '.ballast')
  const descriptor = openSync(file, 'w')
  for (const bytes of [1 << 20, 1 << 12]) {
    const piece = Buffer.alloc(bytes)
    while (wrote(descriptor, piece));
  }
  closeSync(descriptor)
  return () => rmSync(file)
}

function wrote(descriptor: number, piece: Buffer): boolean {
  try {
    return writeSync(descriptor, piece) === piece.length
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false
    throw error
  }
}

function mounts(): boolean {
  const probe = join('/tmp', `nexus-backup-mount-${process.pid}`)
  try {
    mkdirSync(probe)
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', probe], { stdio: 'ignore' })
    execFileSync('umount', [probe])
    return true
  } catch {
    return false
  } finally {
    rmSync(probe, { recursive: true, force: true })
  }
}
