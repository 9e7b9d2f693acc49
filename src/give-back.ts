import { MessageChannel } from 'node:worker_threads'

/** A port that leads nowhere. */
const { port1: nowhere } = closed(new MessageChannel())

function closed(channel: MessageChannel): MessageChannel {
  channel.port2.close()
  return channel
}

/**
 * Gives a large buffer's memory back at once; nobody may use the bytes any more. The garbage collector would come only
 * after dozens of megabytes of them, each page of which the kernel then has to find anew: half of what sealing cost.
 * Sending a buffer away is the one way to part with it in Node 20, and a message to a closed port is dropped (HTML
 * standard, 9.4.4: what is transferred is detached although nobody receives it). A view into a larger buffer stays.
 */
export function giveBack(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes
  if (byteLength === 0 || byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return
  nowhere.postMessage(null, [buffer])
}
