// A full backup to an object store on the same machine, and back: the server takes its part of the processor.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { contest } from './contest.mjs'
import { unmeasured } from './measure.mjs'
import { missingTool } from './tools.mjs'

const script = new URL('../helpers/s3-server.sh', import.meta.url).pathname
const port = 17580
const keys = { S3_ACCESS_KEY: 'BENCHKEY', S3_SECRET_KEY: 'benchsecret0123456789' }

/** Starts a server of its own for these rows: Ceph's radosgw, objects in memory. */
export async function s3Rows(settings) {
  const { tools, scratch, env: common } = settings
  const missing = missingTool(tools, 'radosgw')
  const title = 'Full backup to S3 on this machine, and back'
  const floor = 'nexus-backup into a directory, --check none'
  if (missing !== undefined) return { title, floor, goals: [], rows: [{ name: floor, missing }] }
  const directory = join(scratch, 's3')
  execFileSync(script, ['start', directory, String(port)], { env: { ...process.env, ...keys }, stdio: 'ignore' })
  // Before the scratch directory goes, which names its processes.
  process.prependOnceListener('exit', () => execFileSync(script, ['stop', directory]))
  const env = {
    ...common,
    AWS_ACCESS_KEY_ID: keys.S3_ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: keys.S3_SECRET_KEY,
    AWS_REGION: 'us-east-1',
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
    RESTIC_REPOSITORY: `s3:http://127.0.0.1:${port}/bench/restic`,
  }
  await makeBucket(env)
  const create = 'node "$PROGRAM" create --sqlite "$DB" --name bench --type full --check none'
  const room = 'rm -rf "$ROOM" && mkdir "$ROOM"'
  unmeasured(`${room} && ${create} --repo s3://bench/ours --state "$ROOM/state" --init`, env)
  if (tools.restic) unmeasured('restic -q init', env)
  const rows = contest(
    [
      { name: floor, ours: true, prepare: room, run: `${create} --repo "$ROOM/ours" --state "$ROOM/state" --init` },
      {
        name: 'nexus-backup to S3, --check none',
        ours: true,
        run: `${create} --repo s3://bench/ours --state "$ROOM/state"`,
      },
      {
        name: 'restic to S3 alone (unsafe: no .backup)',
        // Otherwise it would find its own blobs and send nothing.
        prepare:
          'export RESTIC_REPOSITORY="$RESTIC_REPOSITORY-$RANDOM" && restic -q init && echo "$RESTIC_REPOSITORY" > "$BENCH_PLACE"',
        run: 'RESTIC_REPOSITORY=$(cat "$BENCH_PLACE") restic -q backup "$DB"',
        missing: missingTool(tools, 'restic'),
      },
      {
        name: 'nexus-backup restore from S3 (with its integrity check)',
        ours: true,
        prepare: 'rm -rf "$ROOM/out" && mkdir -p "$ROOM/out"',
        run: 'node "$PROGRAM" restore bench --repo s3://bench/ours --state "$ROOM/state" --to "$ROOM/out/db"',
      },
      {
        name: 'restic restore from S3, then fsync',
        prepare: 'rm -rf "$ROOM/out" && mkdir -p "$ROOM/out"',
        run: 'RESTIC_REPOSITORY=$(cat "$BENCH_PLACE") restic -q restore latest --target "$ROOM/out" && sync "$ROOM/out$DB"',
        missing: missingTool(tools, 'restic'),
      },
    ],
    { ...settings, env: { ...env, BENCH_PLACE: join(scratch, 'restic-place') } },
  )
  unmeasured('rm -rf "$ROOM"', env)
  return { title, floor, goals: [], rows }
}

async function makeBucket({ AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: region, ...env }) {
  const { CreateBucketCommand, S3Client } = await import('@aws-sdk/client-s3')
  const credentials = { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY }
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: 'bench' }))
  client.destroy()
}
