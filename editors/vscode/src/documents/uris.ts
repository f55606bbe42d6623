// Addresses of files of runs: `pollinator-run:/RUN/src/main.py`.

import * as vscode from "vscode";

export const SCHEME = "pollinator-run";

/** The address of a file or folder of a run; the path begins with the tree. */
export function runUri(id: string, path: string): vscode.Uri {
  return vscode.Uri.from({ scheme: SCHEME, path: `/${id}/${path}` });
}

/** The run and the path of an address. */
export function partsOf(uri: vscode.Uri): { id: string; path: string } {
  const [, id = "", ...rest] = uri.path.split("/");
  return { id, path: rest.join("/") };
}
