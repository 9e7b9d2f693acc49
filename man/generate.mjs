#!/usr/bin/env node
// Writes the generated parts of the man pages from the declaration of the command line (dist/ must be built).
// With --check nothing is written: the process ends with 1 when a page is not what it should be.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const { environment, files, globalOptions } = await import('../dist/cli/declaration/globals.js')
const { exitTable } = await import('../dist/cli/declaration/exits.js')
const { commands } = await import('../dist/cli/declaration/index.js')
const { chainSchema, clusterKeepSchema, documentSchema, repositorySchema } = await import('../dist/config/schema.js')
const { encryptionSchema, recipientKeys } = await import('../dist/config/encryption.js')
const { sourceSchemas } = await import('../dist/config/schema-sources.js')
const { s3Keys } = await import('../dist/config/schema-s3.js')

const directory = new URL('./', import.meta.url)
const check = process.argv.includes('--check')
const problems = []

/** Text as mdoc takes it literally: no macro, no escape, no sentence that ends in mid-line. */
function literal(text) {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('"', '\\(dq')
    .replace(/^([.'])/, '\\&$1')
    .replaceAll('-', '\\-')
}

/** Prose: words that are mdoc macros or closing marks are safe only when they do not begin a macro line. */
function prose(text) {
  return text.replaceAll('\\', '\\e').replace(/^([.'])/, '\\&$1')
}

function argument(text) {
  return `"${literal(text)}"`
}

function optionItem({ name, value, optionalValue, description, choices, default: initial, environment: variable }) {
  const operand =
    value === undefined ? '' : ` ${optionalValue ? 'Op ' : ''}Ar ${choices === undefined ? value : choices.join(' | ')}`
  const lines = [`.It Fl \\-${literal(name)}${operand}`, `${prose(description)}.`]
  if (initial !== undefined) lines.push(`The default is`, `.Cm ${literal(initial)} .`)
  if (variable !== undefined) lines.push('Also set by', `.Ev ${variable} .`)
  return lines
}

/** A command as it can be pasted from a terminal of 80 columns: a line that the pager would fold is continued by hand. */
function commandLines(command) {
  if (command.length <= 66) return [`.Dl ${argument(command)}`]
  const rows = ['']
  for (const piece of command.split(/ (?=--|[|>])/)) {
    const last = rows.at(-1)
    if (last !== '' && last.length + piece.length > 62) rows.push(`  ${piece}`)
    else rows[rows.length - 1] = last === '' ? piece : `${last} ${piece}`
  }
  const text = rows.map((row, at) => `${prose(row)}${at < rows.length - 1 ? ' \\e' : ''}`)
  return ['.Bd -literal -offset indent', ...text, '.Ed']
}

function list(items) {
  return items.length === 0 ? [] : ['.Bl -tag -width Ds', ...items.flat(), '.El']
}

function commandsNamed(page) {
  const name = page.replace(/^nexus-backup-?/, '').replace(/\.1$/, '')
  const command = commands.find(candidate => candidate.name === name)
  return command === undefined ? [] : [command, ...(command.subcommands ?? [])]
}

function exitItems(exits) {
  return exits.map(({ status, means }) => [`.It ${status}`, `${prose(means[0].toUpperCase() + means.slice(1))}.`])
}

const sections = {
  options: page =>
    commandsNamed(page).flatMap(({ name, options, arguments: operands, subcommands }) => {
      const items = [
        ...operands.map(operand => [
          `.It Ar ${operand.choices?.join(' | ') ?? operand.name.replace('|', ' | ')}`,
          `${prose(operand.description)}.`,
        ]),
        ...options.map(optionItem),
      ]
      const title = name.includes(' ') ? [`.Ss nexus\\-backup ${name}`] : []
      if (items.length === 0) return subcommands === undefined ? [...title, 'It has no options of its own.'] : []
      return [...title, ...list(items)]
    }),
  globals: () => list(globalOptions.map(optionItem)),
  commands: () =>
    list(
      commands.map(({ name, summary }) => [
        `.It Xr nexus-backup-${name} 1`,
        `${prose(summary[0].toUpperCase() + summary.slice(1))}.`,
      ]),
    ),
  exits: page => {
    const [command, ...subcommands] = commandsNamed(page)
    const texts = new Set(subcommands.map(({ exits }) => JSON.stringify(exits)))
    if (texts.size < 2) return list(exitItems(command?.exits ?? exitTable))
    return subcommands.flatMap(({ name, exits }) => [`.Ss nexus\\-backup ${name}`, ...list(exitItems(exits))])
  },
  environment: () =>
    list([
      ...globalOptions
        .filter(option => option.environment !== undefined)
        .map(option => [
          `.It Ev ${option.environment}`,
          'Sets',
          `.Fl \\-${literal(option.name)} ;`,
          'the option wins.',
        ]),
      ...environment.map(({ name, means }) => [`.It Ev ${name}`, `${prose(means)}.`]),
    ]),
  files: () => list(files.map(({ path, means }) => [`.It Pa ${path}`, `${prose(means)}.`])),
  examples: page =>
    (commandsNamed(page)[0]?.examples ?? [])
      .flatMap(({ does, command }) => [`.Pp`, `${prose(does)}:`, ...commandLines(command)])
      .slice(1),
}

function generated(page, text) {
  return text.replace(
    /^(\.\\" BEGIN GENERATED (\w+)\n)[\s\S]*?^(\.\\" END GENERATED\n)/gm,
    (_whole, begin, name, end) => {
      const section = sections[name]
      if (section === undefined) throw new Error(`${page}: nothing generates '${name}'`)
      return `${begin}${section(page)
        .map(line => `${line}\n`)
        .join('')}${end}`
    },
  )
}

/** Every key of the configuration must be described, under its own name. */
function undescribedKeys(text) {
  const entriesOf = schema => schema.entries ?? schema.pipe.find(step => step.entries !== undefined).entries
  const schemas = [
    documentSchema,
    repositorySchema,
    s3Keys,
    ...Object.values(sourceSchemas),
    clusterKeepSchema,
    chainSchema,
    encryptionSchema,
  ]
  // Keys that are there to be refused are no keys.
  const isKey = ([, entry]) => entry.wrapped?.type !== 'never'
  const keys = schemas.flatMap(schema => Object.entries(entriesOf(schema)).filter(isKey)).map(([key]) => key)
  keys.push(...Object.keys(recipientKeys))
  return [...new Set(keys)].filter(key => !text.includes(`.It Ic ${key}`))
}

const pages = readdirSync(directory).filter(name => /^nexus-backup.*\.\d$/.test(name))
for (const page of pages) {
  const file = new URL(page, directory)
  const before = readFileSync(file, 'utf8')
  const after = generated(page, before)
  if (page === 'nexus-backup-config.5') {
    for (const key of undescribedKeys(after)) problems.push(`${page}: the key '${key}' is not described`)
  }
  if (before === after) continue
  if (check) problems.push(`${page}: differs from the declaration; run 'node man/generate.mjs'`)
  else writeFileSync(file, after)
}
for (const { name } of commands) {
  if (!pages.includes(`nexus-backup-${name}.1`)) problems.push(`nexus-backup-${name}.1 is missing`)
}
for (const problem of problems) process.stderr.write(`man: ${problem}\n`)
if (problems.length > 0) process.exitCode = 1
