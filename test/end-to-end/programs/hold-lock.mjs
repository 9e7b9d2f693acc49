// Another nexus-backup in the middle of its work: hold-lock.mjs REPOSITORY writer|delete exclusive|shared PURPOSE SOURCE
const [repository, name, mode, purpose, source] = process.argv.slice(2)
const { openRepository } = await import(new URL('../../../dist/repository/open.js', import.meta.url))
const room = (await openRepository(repository)).source(source)
await room.lock(name, mode, {
  waitSeconds: 0,
  purpose,
  host: (await import('node:os')).hostname(),
  user: 'tester',
  signal: new AbortController().signal,
  onWait: () => {},
})
process.stdout.write('held\n')
setInterval(() => {}, 1 << 30)
