// What a start costs: cron and archive_command pay it every time.
import { contest } from './contest.mjs'

export function startRows(settings) {
  const rows = contest(
    [
      { name: 'node -e 0', run: 'node -e 0' },
      { name: 'nexus-backup --version', ours: true, run: 'node "$PROGRAM" --version' },
    ],
    { ...settings, runs: 21, warm: [], say: () => {} },
  )
  return { title: 'Start', floor: 'node -e 0', goals: [{ row: 'nexus-backup --version', time: 1.3 }], rows }
}
