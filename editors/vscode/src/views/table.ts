// Tables in text files, shown as tables. Nothing in it runs: it is made of escaped text alone.

import * as vscode from "vscode";
import { bytesText } from "../project/words";
import { cellsOf } from "./cells";

export const TABLE = "pollinator.table";
const ROWS_AT_MOST = 2_000;
const BYTES_AT_MOST = 64 * 1024 * 1024;

const STYLE = `
  body { padding: 0; color: var(--vscode-editor-foreground); background: var(--vscode-editor-background); }
  table { border-collapse: collapse; font-family: var(--vscode-editor-font-family); font-size: 12px; }
  th, td { padding: 3px 10px; border: 1px solid var(--vscode-panel-border); text-align: left; white-space: pre; }
  th { position: sticky; top: 0; background: var(--vscode-sideBar-background); }
  td.number { text-align: right; }
  p { padding: 0 10px; color: var(--vscode-descriptionForeground); }
`;

export class TableView implements vscode.CustomReadonlyEditorProvider {
  openCustomDocument(uri: vscode.Uri): vscode.CustomDocument {
    return { uri, dispose: () => undefined };
  }

  async resolveCustomEditor(document: vscode.CustomDocument, panel: vscode.WebviewPanel): Promise<void> {
    panel.webview.options = { enableScripts: false };
    const { size } = await vscode.workspace.fs.stat(document.uri);
    if (size > BYTES_AT_MOST) {
      panel.webview.html = `<p>${bytesText(size)} are too much for a table here.</p>`;
      return;
    }
    const text = new TextDecoder().decode(await vscode.workspace.fs.readFile(document.uri));
    const separator = document.uri.path.toLowerCase().endsWith(".tsv") ? "\t" : ",";
    panel.webview.html = pageOf(cellsOf(text, separator, ROWS_AT_MOST + 1));
  }
}

function pageOf(rows: readonly string[][]): string {
  const [head = [], ...body] = rows;
  const more = body.length >= ROWS_AT_MOST ? `<p>The first ${ROWS_AT_MOST} rows.</p>` : "";
  const policy = "default-src 'none'; style-src 'unsafe-inline'";
  return `<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<style>${STYLE}</style></head>
<body>${more}<table><thead><tr>${head.map((each) => `<th>${escaped(each)}</th>`).join("")}</tr></thead>
<tbody>${body.map((row) => `<tr>${row.map(cellOf).join("")}</tr>`).join("\n")}</tbody></table></body></html>`;
}

function cellOf(text: string): string {
  const number = text.trim() !== "" && Number.isFinite(Number(text));
  return `<td${number ? ' class="number"' : ""}>${escaped(text)}</td>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
