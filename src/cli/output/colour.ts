/** Marks text for a terminal; without colour each returns its text. */
export interface Paint {
  good(text: string): string
  bad(text: string): string
  warning(text: string): string
  faint(text: string): string
  strong(text: string): string
}

const plain = (text: string) => text
export const noPaint: Paint = { good: plain, bad: plain, warning: plain, faint: plain, strong: plain }

/** What decides about colour on one stream. */
export interface ColourQuestion {
  terminal: boolean
  noColorFlag: boolean
  env: Readonly<Record<string, string | undefined>>
}

/** Flag over NO_COLOR over FORCE_COLOR over TERM over whether it is a terminal (anchors/general.md 5.8). */
export function wantsColour({ terminal, noColorFlag, env }: ColourQuestion): boolean {
  if (noColorFlag || (env.NO_COLOR ?? '') !== '') return false
  const force = env.FORCE_COLOR ?? ''
  if (force !== '') return force !== '0' && force !== 'false'
  return terminal && env.TERM !== 'dumb'
}

/** The paint of one stream; chalk is loaded only where there is colour. */
export async function paintFor(question: ColourQuestion): Promise<Paint> {
  if (!wantsColour(question)) return noPaint
  const { Chalk } = await import('chalk')
  const chalk = new Chalk({ level: 1 })
  return { good: chalk.green, bad: chalk.red, warning: chalk.yellow, faint: chalk.dim, strong: chalk.bold }
}
