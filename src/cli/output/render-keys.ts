import type { KeysListResult, KeysTestResult, ListedKeys } from '../../operations/keys/results.js'
import type { Paint } from './colour.js'
import { humanTime, printable } from './format.js'
import { table } from './table.js'

/** Who can open each repository, newest epoch last, and whose signatures it knows. */
export function renderKeys({ repositories }: KeysListResult, zone: string): string {
  return repositories.map(keys => renderRepository(keys, zone)).join('\n')
}

function renderRepository({ repository, encrypted, epochs, hosts }: ListedKeys, zone: string): string {
  const name = printable(repository)
  if (epochs.length === 0) return `${name} is not encrypted\n`
  const rows = epochs.flatMap(({ id, current, is_trusted: isTrusted, recipients }) =>
    recipients.map(recipient => [
      `${id}${current ? ' *' : isTrusted ? '' : ' !'}`,
      recipient.id,
      recipient.kind,
      age(recipient.age_days, recipient.is_old),
      recipient.label ?? '',
    ]),
  )
  const signers = hosts.map(({ id, host, registered, is_trusted: isTrusted }) => [
    id,
    host,
    humanTime(registered, zone),
    isTrusted ? 'yes' : 'no',
  ])
  const signing = signers.length === 0 ? '' : `\n${table(hostColumns, signers)}`
  const copies = encrypted ? '' : ': it has no keys of its own, these came with copies'
  const pins = `\n${table(
    pinColumns,
    epochs.map(({ id, is_trusted, fingerprint }) => [id, is_trusted ? 'yes' : 'no', fingerprint]),
  )}`
  return `${name}${copies}\n${table(columns, rows)}${pins}${signing}`
}

const columns = [{ title: 'EPOCH' }, { title: 'RECIPIENT' }, { title: 'KIND' }, { title: 'AGE' }, { title: 'LABEL' }]
const pinColumns = [{ title: 'EPOCH' }, { title: 'TRUSTED' }, { title: 'FINGERPRINT' }]
const hostColumns = [{ title: 'SIGNS' }, { title: 'HOST' }, { title: 'SINCE' }, { title: 'TRUSTED' }]

/** Which keys were proven to open what. */
export function renderKeysTest({ repositories }: KeysTestResult, paint: Paint): string {
  const words = { ok: paint.good('opens'), failed: paint.bad('fails'), unreached: paint.warning('not tried') }
  return repositories
    .map(({ repository, epoch, recipients }) => {
      if (epoch === null) return `${printable(repository)} is not encrypted\n`
      const lines = recipients.map(
        ({ id, kind, status, detail, age_days: days, is_old: isOld }) =>
          `${words[status]}  ${printable(id)} (${kind}, ${age(days, isOld)}): ${printable(detail)}\n`,
      )
      return `${printable(repository)}\n${lines.join('')}`
    })
    .join('\n')
}

function age(days: number, isOld: boolean): string {
  return `${days} ${days === 1 ? 'day' : 'days'}${isOld ? ', too old' : ''}`
}
