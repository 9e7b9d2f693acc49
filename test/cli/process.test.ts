import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const root = new URL('../..', import.meta.url).pathname
const program = `${root}bin/nexus-backup`
const built = existsSync(`${root}dist/bundle/main.js`)

function run(argv: string[], options: { env?: Record<string, string>; shell?: string } = {}) {
  const env = { PATH: process.env.PATH, HOME: '/nonexistent', ...options.env }
  const { status, stdout, stderr } =
    options.shell === undefined
      ? spawnSync(program, argv, { env, encoding: 'utf8' })
      : spawnSync('bash', ['-c', options.shell, program], { env, encoding: 'utf8' })
  return { status, stdout, stderr }
}

const dataUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`

/** `npm run build` comes first; without it there is no process to test. */
describe.skipIf(!built)('the process', () => {
  it('prints its version and loads nothing for it', () => {
    expect(run(['--version'])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
      stderr: '',
    })
    const main = `${root}dist/bundle/main.js`
    const script = `process.argv = ['node', 'x', '--version']; const { main } = await import(${JSON.stringify(main)}); main();
      process.on('exit', () => console.error(Object.keys(process.moduleLoadList).length > 0 && process.moduleLoadList.filter(n => /sqlite|commander/.test(n)).join()))`
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    expect(stderr.trim()).toBe('')
  })

  it('reads few modules, and of packages only what is compiled or large', () => {
    // Tells every module that Node reads from a file, in a thread of its own.
    const hooks = `import { writeSync } from 'node:fs'
      export const load = (url, context, next) => {
        if (url.startsWith('file:')) writeSync(2, \`module \${url}\\n\`)
        return next(url, context)
      }`
    const register = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(hooks))})`
    const { stderr } = run(['list', '--repo', '/nonexistent'], {
      env: { NODE_OPTIONS: `--import ${dataUrl(register)}` },
    })
    const modules = [...stderr.matchAll(/^module (.*)$/gm)].map(([, url = '']) => url)
    expect(modules).toContain(`file://${root}dist/bundle/main.js`)
    // It is 60 at the time of writing, and 180 compiled ones.
    expect(modules.length).toBeLessThan(100)
    const packages = modules.flatMap(url => /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? [])
    expect(packages.filter(name => name !== 'zstd-napi')).toEqual([])
  })

  it('works in a directory that is gone', () => {
    const shell = 'gone=$(mktemp -d) && cd "$gone" && rmdir "$gone" && "$0" list --repo repo'
    const { status, stderr } = run([], { shell })
    expect(status).toBe(5)
    expect(stderr).toMatch(/^nexus-backup: error: no repository at \/.*\/repo: /m)
  })

  it('prints help on stdout', () => {
    expect(run(['--help'])).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringContaining('Usage: nexus-backup'),
    })
    expect(run(['restore', '--help']).stdout).toContain('--in-place [--confirm SOURCE]')
  })

  it('ends with 2 and a suggestion for a command it does not know', () => {
    const { status, stdout, stderr } = run(['cretae'])
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toBe(
      "nexus-backup: error: unknown command 'cretae'\nhint: did you mean create? see 'nexus-backup --help'\n",
    )
  })

  it.each([
    [['--key-file', '/no/such', 'pitr', 'fetch', 'F', '/P']],
    [['--passphrase-file=/no/such', '--repo', '/no/such', 'pitr', 'fetch', 'F', '/P', '--source', 'x']],
    [['pitr', 'fetch', '--no-such-option', 'F', '/P']],
  ])('stops a recovery by every failure: %j', argv => {
    expect(run(argv).status).toBe(126)
  })

  it.each([
    ['/no/such/node', ['pitr', 'archive', 'pg_wal/x'], 1],
    ['no-such-node', ['--config', '/x', 'pitr', 'archive', 'pg_wal/x'], 1],
    ['/etc/passwd', ['pitr', 'archive', 'pg_wal/x'], 1],
    ['/no/such/node', ['pitr', 'fetch', 'x', 'y'], 127],
    ['/no/such/node', ['list'], 127],
  ])('says that Node is missing, and PostgreSQL counts it: %s %j', (node, argv, status) => {
    const run = spawnSync(program, argv, { env: { PATH: '/usr/bin:/bin', NEXUS_BACKUP_NODE: node }, encoding: 'utf8' })
    expect([run.status, run.stderr]).toEqual([
      status,
      expect.stringMatching(/^nexus-backup: error: cannot start: .*\nhint: /),
    ])
  })

  it('ends with one JSON object on stderr when JSON is asked for', () => {
    const { status, stderr } = run(['list', '--json', '--config', '/nonexistent/c.yaml'])
    expect(status).toBe(7)
    expect(JSON.parse(stderr).error).toMatchObject({ code: 'configuration_unreadable', exit_code: 7 })
  })

  it('takes a reader that has read enough for no failure', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell reads it
    const { stdout, stderr } = run([], { shell: '"$0" --help | head -n 1; echo "${PIPESTATUS[0]}"' })
    expect([stdout.split('\n').at(-2), stderr]).toEqual(['0', ''])
  })

  it.skipIf(!existsSync('/dev/full'))('fails when its result cannot be written', () => {
    const { status, stderr } = run([], { shell: '"$0" --help > /dev/full' })
    expect(status).toBe(1)
    expect(stderr).toContain('the result could not be written')
  })

  it('never ends with 0 when the work stops in the middle', () => {
    const guard = JSON.stringify(`${root}dist/cli/exit-guard.js`)
    const script = `const { armExitGuard } = await import(${guard}); armExitGuard(1); new Promise(() => {})`
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('ended before its work was done')
  })

  it('colours its errors on a terminal, and not with NO_COLOR', () => {
    const shell = (env: string) => `${env} script -qec "$0 cretae" /dev/null`
    expect(run([], { shell: shell('TERM=xterm') }).stdout).toContain('\u001b[31merror')
    expect(run([], { shell: shell('TERM=xterm NO_COLOR=1') }).stdout).not.toContain('\u001b[')
  })

  it.each([
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('is asked to stop by the first %s and ends at once with %d by the second', async (signal, status) => {
    const module = JSON.stringify(`${root}dist/cli/process-io.js`)
    const script = `const { processIo } = await import(${module}); const { signal } = processIo();
      signal.addEventListener('abort', () => console.log(signal.reason.code)); setInterval(() => {}, 1000); console.log('ready')`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script])
    const ended = new Promise(resolve => child.on('exit', resolve))
    let text = ''
    for await (const chunk of child.stdout) {
      text += chunk
      child.kill(signal)
    }
    expect(text).toBe(`ready\ninterrupted_${signal.toLowerCase()}\n`)
    expect(await ended).toBe(status)
  })

  it('does not open a debugger on SIGUSR1', async () => {
    const module = JSON.stringify(`${root}dist/cli/process-io.js`)
    const script = `const { processIo } = await import(${module}); const stop = processIo().onProgressRequest(() => {
      console.log('asked'); stop(); process.kill(process.pid, 'SIGUSR1'); setTimeout(() => process.exit(0), 100) });
      setInterval(() => {}, 1000); process.kill(process.pid, 'SIGUSR1')`
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    expect([stdout, stderr]).toEqual(['asked\n', ''])
  })
})
