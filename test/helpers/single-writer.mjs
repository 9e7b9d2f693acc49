// Makes an empty repository into which one host alone writes: single-writer.mjs s3://BUCKET/PREFIX
const [url] = process.argv.slice(2)
const { initRepository } = await import(new URL('../../dist/repository/open.js', import.meta.url))
const { inEnvironment, placeFromUrl } = await import(new URL('../../dist/config/s3-url.js', import.meta.url))
const place = inEnvironment(placeFromUrl(url), process.env)
await initRepository({ ...place, s3: { ...place.s3, locking: 'single-writer' } }, { now: new Date() })
process.exit(0)
