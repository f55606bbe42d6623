// Words above project.yaml and the file that a run begins with: run it, and how the last run ended.

import { basename, join } from "node:path";
import * as vscode from "vscode";
import type { Projects } from "../project/projects";
import type { WatchedProject } from "../project/watched";
import { endWords, hasEnded, ranFor, stateIcon, stateWord } from "../project/words";

const SOURCE = /^[ \t]+source:[ \t]*["']?([^"'#\s][^"'#\n]*?)["']?[ \t]*(?:#.*)?$/m;

export class RunLenses implements vscode.CodeLensProvider {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly onDidChangeCodeLenses = this.#changed.event;

  constructor(private readonly projects: Projects) {
    projects.onRunChanged(() => {
      this.#changed.fire();
    });
  }

  dispose(): void {
    this.#changed.dispose();
  }

  async provideCodeLenses(document: vscode.TextDocument): Promise<vscode.CodeLens[]> {
    const project = this.projects.of(document.uri);
    if (project === undefined) {
      return [];
    }
    const isSpec = document.uri.fsPath === join(project.root, "project.yaml");
    if (!isSpec && document.uri.fsPath !== (await entryOf(project))) {
      return [];
    }
    const range = new vscode.Range(0, 0, 0, 0);
    const commands: vscode.Command[] = [
      { title: "$(play)\u00a0Run and Follow", command: "pollinator.runFollow", arguments: [document.uri] },
      { title: "Run", command: "pollinator.run", arguments: [document.uri] },
      { title: "Run on…", command: "pollinator.runOn", arguments: [document.uri] },
    ];
    const [last] = project.runs;
    if (last !== undefined) {
      const [icon] = stateIcon(last.state);
      const words = [
        stateWord(last.state),
        endWords(last.outcome),
        hasEnded(last) ? ranFor(last) : "",
      ].filter((each) => each !== "");
      commands.push({
        title: `$(${icon})\u00a0${words.join(", ")}`,
        command: "pollinator.openLogs",
        arguments: [{ kind: "run", id: last.id }],
        tooltip: hasEnded(last) ? "Show what the last run printed" : "Follow the run",
      });
    }
    return commands.map((each) => new vscode.CodeLens(range, each));
  }
}

/** The file that a run begins with; empty when none is named. */
async function entryOf(project: WatchedProject): Promise<string> {
  const uri = vscode.Uri.file(join(project.root, "project.yaml"));
  const open = vscode.workspace.textDocuments.find((each) => each.uri.fsPath === uri.fsPath);
  try {
    const text = open?.getText() ?? new TextDecoder().decode(await vscode.workspace.fs.readFile(uri));
    const source = SOURCE.exec(text)?.[1]?.trim() ?? "";
    return basename(source) === "" ? "" : join(project.root, "cfs/src", source);
  } catch {
    return "";
  }
}
