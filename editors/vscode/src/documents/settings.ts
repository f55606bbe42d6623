// Settings of runs as documents to compare. All that such a document says is in its address, so nothing is kept.

import * as vscode from "vscode";

export const SETTINGS_SCHEME = "pollinator-settings";

/** The address of settings with their values; one without a value is left out. */
export function settingsUri(settings: readonly (readonly [name: string, value: string])[]): vscode.Uri {
  const lines = settings.filter(([, value]) => value !== "").map(([name, value]) => `${name}: ${value}\n`);
  return vscode.Uri.from({ scheme: SETTINGS_SCHEME, path: "/settings", query: lines.join("") });
}

export const SETTINGS: vscode.TextDocumentContentProvider = {
  provideTextDocumentContent: (uri) => uri.query,
};
