// Another nexus-backup in the middle of its work: hold-lock.mjs REPOSITORY STATE writer|delete exclusive|shared PURPOSE SOURCE
const [repository, stateDirectory, name, mode, purpose, source] = process.argv.slice(2)
const { openRepository } = await import(new URL('../../../dist/repository/open.js', import.meta.url))
const { inEnvironment, placeFromUrl } = await import(new URL('../../../dist/config/s3-url.js', import.meta.url))
const { writerHost } = await import(new URL('../../../dist/operations/writer-host.js', import.meta.url))
const place = repository.startsWith('s3://') ? inEnvironment(placeFromUrl(repository), process.env) : repository
const room = (await openRepository(place)).source(source)
await room.lock(name, mode, {
  waitSeconds: 0,
  purpose,
  host: (await import('node:os')).hostname(),
  user: 'tester',
  signal: new AbortController().signal,
  onWait: () => {},
  writer: writerHost({ stateDirectory }),
})
process.stdout.write('held\n')
setInterval(() => {}, 1 << 30)
