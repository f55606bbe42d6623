// Addresses of files of runs: the path is that of the same file on disk, so that the editor sees one file and not a
// renamed one when both are compared; the query says which run.

import * as vscode from "vscode";

export const SCHEME = "pollinator-run";

/** What an address says. */
export interface Parts {
  readonly id: string;
  /** From the project's cfs folder on; it begins with the tree. */
  readonly path: string;
}

/** The address of a file on disk. */
export function diskUri(root: string, path: string): vscode.Uri {
  return vscode.Uri.joinPath(vscode.Uri.file(root), "cfs", path);
}

/** The address of a file or folder of a run of the project in a folder. */
export function runUri(root: string, id: string, path: string): vscode.Uri {
  return diskUri(root, path).with({ scheme: SCHEME, query: JSON.stringify({ run: id, root }) });
}

/** The run and the path of an address; undefined where it is none of ours. */
export function partsOf(uri: vscode.Uri): Parts | undefined {
  let told: { run?: string; root?: string };
  try {
    told = JSON.parse(uri.query) as typeof told;
  } catch {
    return undefined;
  }
  const { run, root } = told;
  if (run === undefined || root === undefined) {
    return undefined;
  }
  const cfs = diskUri(root, "").path.replace(/\/*$/, "/");
  return uri.path.startsWith(cfs) ? { id: run, path: uri.path.slice(cfs.length) } : undefined;
}
