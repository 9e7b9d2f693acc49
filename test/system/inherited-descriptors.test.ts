import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { withoutInherited } from '../../src/system/inherited-descriptors.js'

it('hands no descriptor on that was inherited', () => {
  // Under this runner there may be some as well.
  const { stdout } = withoutInherited(['ignore', 'pipe', 'ignore'], stdio =>
    spawnSync('sh', ['-c', 'ls -l /proc/self/fd'], { stdio, encoding: 'utf8' }),
  )
  const leads = [...String(stdout).matchAll(/ (\d+) -> (.*)$/gm)].filter(([, fd]) => Number(fd) > 2)
  expect(leads.map(([, , to]) => to).filter(to => to !== '/dev/null' && !/^\/proc\/\d+\/fd$/.test(to ?? ''))).toEqual(
    [],
  )
})

it('sees those that the program which started this one had open', () => {
  const module = fileURLToPath(new URL('../../dist/system/inherited-descriptors.js', import.meta.url))
  const script = `
    import { spawnSync } from 'node:child_process'
    import { withoutInherited } from ${JSON.stringify(module)}
    const run = stdio => spawnSync('readlink', ['/proc/self/fd/27'], { stdio, encoding: 'utf8' }).stdout.trim()
    console.log(run(['ignore', 'pipe', 'inherit']), withoutInherited(['ignore', 'pipe', 'inherit'], run))`
  const shell = `exec 27</etc/passwd; exec "$0" --input-type=module -e "$1"`
  const { stdout } = spawnSync('bash', ['-c', shell, process.execPath, script], { encoding: 'utf8' })
  expect(stdout.trim()).toBe('/etc/passwd /dev/null')
})
