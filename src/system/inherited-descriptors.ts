import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'

/** Of the flags in /proc/PID/fdinfo: it is closed when another program is started (open(2)). */
const CLOSE_ON_EXEC = 0o2000000

/**
 * Descriptors that this process got from the one that started it and would hand on to every program that it starts: Node
 * sees to its own. None where the system does not tell.
 */
function inherited(): number[] {
  try {
    return readdirSync('/proc/self/fd')
      .map(Number)
      .filter(fd => fd > 2 && isHandedOn(fd))
  } catch {
    return []
  }
}

function isHandedOn(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0
  } catch {
    // That of the directory that was read here is closed again.
    return false
  }
}

/**
 * Starts a program to which no descriptor is handed on but those of `stdio`: it gets the null device in their place.
 *
 * @param start gets what `spawn` takes as `stdio`
 */
export function withoutInherited<T>(
  stdio: readonly [Standard, Standard, Standard],
  start: (stdio: (Standard | number)[]) => T,
): T {
  const descriptors = inherited()
  if (descriptors.length === 0) return start([...stdio])
  const nothing = openSync('/dev/null', 'r+')
  try {
    const all: (Standard | number)[] = [...stdio]
    for (let fd = 3; fd <= Math.max(...descriptors); fd += 1) all.push(descriptors.includes(fd) ? nothing : 'ignore')
    return start(all)
  } finally {
    closeSync(nothing)
  }
}

type Standard = 'ignore' | 'pipe' | 'inherit'
