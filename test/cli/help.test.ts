import { describe, expect, it } from 'vitest'
import { commands, leafCommands } from '../../src/cli/declaration/index.js'
import { commandHelp, programHelp } from '../../src/cli/help.js'

describe('help', () => {
  it.each(leafCommands())('of $name shows every option, example and exit code', command => {
    const text = commandHelp(command)
    for (const { name } of command.options) expect(text).toContain(`--${name}`)
    for (const example of command.examples) expect(text).toContain(example.command)
    for (const { status } of command.exits) expect(text).toMatch(new RegExp(`^ {2}${status} `, 'm'))
  })

  it('of the program lists the six apart from the others', () => {
    const text = programHelp(commands)
    const six = text.slice(text.indexOf('Commands:'), text.indexOf('Further commands'))
    expect(six.match(/^ {2}\w+/gm)?.map(line => line.trim())).toEqual([
      'create',
      'list',
      'verify',
      'restore',
      'prune',
      'pitr',
    ])
  })

  it('fits into 80 columns but for lines that are there to be pasted', () => {
    const texts = [programHelp(commands), ...leafCommands().map(commandHelp)]
    const lines = texts.flatMap(text => text.split('\n')).filter(line => !/nexus-backup /.test(line))
    expect(lines.filter(line => line.length > 80)).toEqual([])
  })
})
