// Results that open when they arrive: pictures and tables of a run that ended while this editor was open.

import { extname } from "node:path";
import * as vscode from "vscode";
import { toDaemonError } from "./daemon/errors";
import type { RunFiles } from "./documents/files";
import { runUri } from "./documents/uris";
import type { ProjectRunChange, Projects } from "./project/projects";
import { hasEnded } from "./project/words";

const PICTURES = new Set([".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"]);
const TABLES = new Set([".csv", ".tsv"]);
const AT_MOST = 3;
/** Whatever is larger opens only when it is asked for. */
const BYTES_AT_MOST = 16 * 1024 * 1024;

export class Results {
  /** Runs that ended here, whose results were looked at. */
  readonly #seen = new Set<string>();
  /** What was opened of the newest of them, by project. */
  readonly #open = new Map<string, Set<string>>();
  readonly #subscription: vscode.Disposable;

  constructor(
    private readonly files: RunFiles,
    projects: Projects,
    private readonly log: (line: string) => void,
  ) {
    this.#subscription = projects.onRunChanged((change) => {
      void this.#onRun(change);
    });
  }

  dispose(): void {
    this.#subscription.dispose();
  }

  async #onRun({ run, old, project }: ProjectRunChange): Promise<void> {
    const wanted = vscode.workspace
      .getConfiguration("pollinator")
      .get<string>("openResults", "picturesAndTables");
    if (old || !hasEnded(run) || run.result === undefined || this.#seen.has(run.id) || wanted === "never") {
      return;
    }
    this.#seen.add(run.id);
    if (project.runs[0]?.id !== run.id) {
      return;
    }
    try {
      const all = await this.files.all(run.id, "result");
      const kinds = wanted === "pictures" ? PICTURES : new Set([...PICTURES, ...TABLES]);
      const fitting = all.filter(
        (each) =>
          !each.directory &&
          each.target === "" &&
          each.size <= BYTES_AT_MOST &&
          kinds.has(extname(each.path).toLowerCase()),
      );
      const uris = fitting.slice(0, AT_MOST).map((each) => runUri(project.root, run.id, each.path));
      for (const each of uris) {
        await open(each);
      }
      if (uris.length > 0) {
        await close(this.#open.get(project.root) ?? new Set());
        this.#open.set(project.root, new Set(uris.map(String)));
      }
    } catch (thrown) {
      this.log(`results of run ${run.id}: ${toDaemonError(thrown).message}`);
    }
  }
}

/** Results of the run before make room. */
async function close(uris: ReadonlySet<string>): Promise<void> {
  const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  const old = tabs.filter(
    ({ input }) =>
      (input instanceof vscode.TabInputCustom || input instanceof vscode.TabInputText) &&
      uris.has(String(input.uri)),
  );
  await vscode.window.tabGroups.close(old, true);
}

/** Beside what the user looks at, who goes on typing there. */
async function open(uri: vscode.Uri): Promise<void> {
  const viewColumn = vscode.ViewColumn.Beside;
  const options = { viewColumn, preserveFocus: true, preview: false };
  if (TABLES.has(extname(uri.path).toLowerCase())) {
    await vscode.commands.executeCommand("vscode.openWith", uri, "pollinator.table", options);
  } else {
    await vscode.commands.executeCommand("vscode.open", uri, options);
  }
}
