import { faultProxy } from '../../helpers/fault-proxy.js'
import type { S3Server } from '../../helpers/s3-server.js'
import type { Running } from './run.js'

/** Starts a run whose store is reached in this environment. */
export type Begin = (env: Record<string, string>) => Running

/**
 * Has a run killed as it sends one of its writes to the store, which still arrives or does not: at so many of them, one
 * in each equal part of all. Where what must not come apart lies within milliseconds, moments at random would miss it.
 *
 * @param undisturbed the same run, to count its writes
 * @param round starts a run by `kill`, which resolves when it has ended; it sees what came of it
 */
export async function atWrites(
  server: S3Server,
  count: number,
  undisturbed: Begin,
  round: (kill: (begin: Begin) => Promise<void>, index: number) => Promise<void>,
): Promise<void> {
  const proxy = await faultProxy(server.endpoint)
  const env = { ...server.env, AWS_ENDPOINT_URL_S3: proxy.endpoint }
  const isWrite = (what: string) => /^(?:PUT|POST|DELETE) /.test(what)
  const { code, stderr } = await undisturbed(env).done
  if (code !== 0) throw new Error(`undisturbed it ended with ${code}: ${stderr}`)
  const total = proxy.seen.filter(isWrite).length
  let hits = 0
  for (let index = 0; index < count; index += 1) {
    const nth = Math.floor(((index + Math.random()) / count) * total) + 1
    await round(async begin => {
      let written = 0
      const running = begin(env)
      proxy.rule = async (_, what) => {
        if (!isWrite(what)) return undefined
        written += 1
        if (written !== nth) return undefined
        running.child.kill('SIGKILL')
        await running.done
        return Math.random() < 0.5 ? 'reset' : undefined
      }
      const { signal } = await running.done
      if (signal === 'SIGKILL') hits += 1
      proxy.rule = () => undefined
    }, index)
  }
  if (hits === 0) throw new Error('every run was over before its write')
}
