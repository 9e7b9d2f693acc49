import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { startS3 } from '../../helpers/s3-server.js'
import { conformance } from './conformance.js'

const server = await startS3()

conformance('s3', async () => {
  const place = await server.newPlace()
  return { open: () => S3Storage.open(place) }
})

conformance(
  's3 with a single writer',
  async () => {
    const place = await server.newPlace({ locking: 'single-writer' })
    return { open: () => S3Storage.open(place) }
  },
  { racing: false },
)
