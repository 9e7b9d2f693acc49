import type { OptionDeclaration } from './types.js'

/** Of every command that writes a cluster somewhere. */
export const tablespaceMap: OptionDeclaration = {
  name: 'tablespace-map',
  value: 'OLD=NEW',
  description:
    'Put the tablespace that was in OLD into NEW, an empty or absent directory; one option for each tablespace',
  kind: 'mapping',
  repeatable: true,
  complete: 'directory',
}

/** Of every command that writes a cluster somewhere. */
export const waldir: OptionDeclaration = {
  name: 'waldir',
  value: 'DIR',
  description: 'Put the cluster’s pg_wal into DIR, an empty or absent directory, and a link to it in its place',
  complete: 'directory',
}
