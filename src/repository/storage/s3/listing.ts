import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'

/** An object as a listing shows it; `name` is relative to the repository. */
export interface Listed {
  name: string
  size: number
  modified: Date
  storageClass: string | undefined
}

/**
 * One level of a directory: its objects, and the names of its directories. Both are relative to it, in the server's order,
 * and each once, whatever the server repeats.
 * @param startAfter only names after this one, relative to the directory
 * @returns also in how many answers: each shows another instant
 */
export async function listLevel(
  bucket: Bucket,
  directory: string,
  startAfter?: string,
): Promise<{ files: Listed[]; directories: string[]; answers: number }> {
  const files = new Map<string, Listed>()
  const directories = new Set<string>()
  let answers = 0
  const prefix = directory === '' ? prefixOfRoot(bucket) : `${bucket.keyOf(directory)}/`
  for await (const page of pages(bucket, directory, { prefix, delimiter: '/', startAfter })) {
    for (const file of page.files) files.set(file.name, file)
    for (const name of page.directories) directories.add(name)
    answers += 1
  }
  return { files: [...files.values()], directories: [...directories], answers }
}

/** Every object below a directory, at any depth; names are relative to it. */
export async function listBelow(bucket: Bucket, directory: string): Promise<Listed[]> {
  const found = new Map<string, Listed>()
  const prefix = directory === '' ? prefixOfRoot(bucket) : `${bucket.keyOf(directory)}/`
  for await (const page of pages(bucket, directory, { prefix })) {
    for (const file of page.files) found.set(file.name, file)
  }
  return [...found.values()]
}

/** Whether anything lies below a directory. */
export async function holdsAnything(bucket: Bucket, directory: string): Promise<boolean> {
  const Prefix = `${bucket.keyOf(directory)}/`
  // Not every store counts (KeyCount).
  const { Contents = [] } = await bucket.request('listing', directory, (client, sdk) =>
    client.send(new sdk.ListObjectsV2Command({ Bucket: bucket.settings.bucket, Prefix, MaxKeys: 1 })),
  )
  return Contents.length > 0
}

function prefixOfRoot({ settings: { prefix } }: Bucket): string {
  return prefix === '' ? '' : `${prefix}/`
}

async function* pages(
  bucket: Bucket,
  directory: string,
  { prefix, delimiter, startAfter }: { prefix: string; delimiter?: string; startAfter?: string | undefined },
): AsyncGenerator<{ files: Listed[]; directories: string[] }> {
  let token: string | undefined
  do {
    const page = await bucket.request('listing', directory, (client, sdk) =>
      client.send(
        new sdk.ListObjectsV2Command({
          Bucket: bucket.settings.bucket,
          Prefix: prefix,
          Delimiter: delimiter,
          ContinuationToken: token,
          StartAfter: startAfter === undefined ? undefined : prefix + startAfter,
        }),
      ),
    )
    yield {
      // A console makes "folders": objects with the name of the directory itself.
      files: (page.Contents ?? []).flatMap(({ Key = '', Size = 0, LastModified, StorageClass }) =>
        // Some stores know no StartAfter.
        Key === prefix || Key === '' || (startAfter !== undefined && Key <= prefix + startAfter)
          ? []
          : [
              {
                name: Key.slice(prefix.length),
                size: Size,
                modified: LastModified ?? new Date(0),
                storageClass: StorageClass,
              },
            ],
      ),
      directories: (page.CommonPrefixes ?? []).flatMap(({ Prefix = '' }) => {
        const name = Prefix.slice(prefix.length, -1)
        return name === '' ? [] : [name]
      }),
    }
    token = following(page, token, () => unfinished(bucket, directory))
  } while (token !== undefined)
}

/** Names that a server puts into one answer at most unless it is asked for another number. */
const FULL_ANSWER = 1000

/**
 * How to go on after an answer; undefined at the end. A listing that ends early must not pass for a whole one: what it
 * lacks would count as gone. Not every server says whether there is more (IsTruncated): then a token says it.
 */
function following(page: ListObjectsV2CommandOutput, token: string | undefined, unfinished: () => Error) {
  const { IsTruncated: isTruncated, NextContinuationToken: next } = page
  if (isTruncated === false) return undefined
  const isToken = next !== undefined && next !== ''
  if (isToken && next !== token) return next
  const names = (page.Contents?.length ?? 0) + (page.CommonPrefixes?.length ?? 0)
  if (isToken || isTruncated === true || names >= FULL_ANSWER) throw unfinished()
  return undefined
}

function unfinished(bucket: Bucket, directory: string): NexusError {
  return new NexusError(
    'failed',
    'listing_unfinished',
    `listing ${bucket.displayed(directory)} failed: the server has more, or does not say that it has no more, and does not say how to go on`,
    {
      hint: 'look for a newer version of the server, or at proxies on the way: its ListObjectsV2 gives no new NextContinuationToken',
    },
  )
}
