import { NexusError } from '../errors.js'
import { globalOptions } from './declaration/globals.js'
import type { OptionDeclaration, ValueKind } from './declaration/types.js'
import type { OptionValues, ParsedCommand } from './parsed.js'
import { valueChecks } from './value-kinds.js'

type Environment = Readonly<Record<string, string | undefined>>

const on = new Set(['1', 'true', 'yes'])
const off = new Set(['', '0', 'false', 'no'])

/**
 * Adds what the environment sets to what the flags say (the flags win) and checks every value by its kind.
 * Times are checked by their readers, which know the zone. Throws `usage`, naming the flag or the variable.
 */
export function completeOptions(parsed: ParsedCommand, env: Environment): OptionValues {
  const declared = [...globalOptions, ...parsed.command.options]
  const values: Record<string, OptionValues[string]> = { ...parsed.options }
  for (const option of declared) {
    const given = values[option.name]
    const texts = typeof given === 'string' ? [given] : typeof given === 'object' ? given : []
    for (const text of texts) checkValue(option.kind, text, `--${option.name}`)
    if (given === undefined) values[option.name] = fromEnvironment(option, env)
  }
  return values
}

function fromEnvironment(option: OptionDeclaration, env: Environment): string | true | undefined {
  const text = option.environment === undefined ? undefined : env[option.environment]
  if (option.environment === undefined || text === undefined) return undefined
  if (option.value === undefined) return environmentSwitch(option.environment, text)
  if (text === '') return undefined
  checkValue(option.kind, text, option.environment)
  return text
}

/** A switch in the environment: 1, true, yes, or 0, false, no. */
export function environmentSwitch(name: string, text: string): true | undefined {
  if (on.has(text.toLowerCase())) return true
  if (off.has(text.toLowerCase())) return undefined
  throw invalid(name, text, 'give 1 or 0')
}

function checkValue(kind: ValueKind | undefined, text: string, name: string): void {
  if (text === '') throw invalid(name, text, 'it must not be empty')
  const check = kind === undefined ? undefined : valueChecks[kind]
  if (check?.accepts(text) === false) throw invalid(name, text, check.advice)
}

function invalid(name: string, text: string, advice: string): NexusError {
  return new NexusError('usage', 'invalid_value', `${name}: '${text}' is not a value for it`, { hint: advice })
}
