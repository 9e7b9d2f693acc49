import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './temporary.js'

const source = `#include <errno.h>
int link(const char *from, const char *to) { errno = EPERM; return -1; }
int linkat(int a, const char *from, int b, const char *to, int flags) { errno = EPERM; return -1; }
`

/** Environment of a process to which the system refuses hard links as on FAT; it has the compiler make a library. */
export function withoutLinks(): { LD_PRELOAD: string } {
  const directory = temporaryDirectory()
  const [code, library] = [join(directory, 'nolink.c'), join(directory, 'nolink.so')]
  writeFileSync(code, source)
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, code])
  return { LD_PRELOAD: library }
}
