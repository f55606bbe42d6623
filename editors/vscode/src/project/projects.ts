// The projects of this window: folders of the workspace that hold a project.yaml.

import { realpath } from "node:fs/promises";
import { dirname, isAbsolute, sep } from "node:path";
import * as vscode from "vscode";
import type { Daemon } from "../daemon/connection";
import { WatchedProject, type RunChange } from "./watched";

const PATTERN = "**/project.yaml";
const LEFT_OUT = "**/{node_modules,.venv,cfs}/**";
const LEFT_OUT_FOLDERS = new Set(["node_modules", ".venv", "cfs"]);
const AT_MOST = 50;

/** A change of a run, and whose it is. */
export interface ProjectRunChange extends RunChange {
  readonly project: WatchedProject;
}

export class Projects {
  #found: Promise<void> = Promise.resolve();
  readonly #known = new Map<string, WatchedProject>();
  readonly #changed = new vscode.EventEmitter<void>();
  readonly #runChanged = new vscode.EventEmitter<ProjectRunChange>();
  readonly #watcher = vscode.workspace.createFileSystemWatcher(PATTERN, false, true, false);

  /** Any project has changed, or there are others. */
  readonly onChanged = this.#changed.event;
  readonly onRunChanged = this.#runChanged.event;

  constructor(private readonly daemon: Daemon) {
    this.#watcher.onDidCreate((uri) => {
      void this.#add(uri);
    });
    this.#watcher.onDidDelete((uri) => {
      this.#drop(dirname(uri.fsPath));
    });
  }

  /** They themselves, as soon as it is known which there are: a command may come before that. */
  async known(): Promise<this> {
    await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Window, title: "Pollinator: looking for projects" },
      () => this.#found,
    );
    return this;
  }

  /** Look for them. */
  async find(): Promise<void> {
    this.#found = this.#find();
    await this.#found;
  }

  async #find(): Promise<void> {
    // Those at the top at once: the search goes through all folders.
    for (const { uri } of vscode.workspace.workspaceFolders ?? []) {
      await this.#add(vscode.Uri.joinPath(uri, "project.yaml"));
    }
    for (const uri of await vscode.workspace.findFiles(PATTERN, LEFT_OUT, AT_MOST)) {
      await this.#add(uri);
    }
    this.#announce();
    // Until then nobody knows that there are none, and commands are not left out.
    void vscode.commands.executeCommand("setContext", "pollinator.searched", vscode.workspace.isTrusted);
  }

  /** In the order of their folders. */
  get all(): WatchedProject[] {
    return [...this.#known.values()].sort((one, other) => (one.root < other.root ? -1 : 1));
  }

  /** The innermost project that holds a file. */
  of(uri: vscode.Uri | undefined): WatchedProject | undefined {
    if (uri?.scheme !== "file") {
      return undefined;
    }
    const holding = this.all.filter(
      (each) => uri.fsPath.startsWith(each.root + sep) || uri.fsPath === each.root,
    );
    return holding.at(-1);
  }

  /** The project of a run that one of them has. */
  withRun(id: string): WatchedProject | undefined {
    return this.all.find((each) => each.run(id) !== undefined);
  }

  dispose(): void {
    this.#watcher.dispose();
    for (const each of this.#known.values()) {
      each.dispose();
    }
    this.#known.clear();
    this.#changed.dispose();
    this.#runChanged.dispose();
  }

  async #add(uri: vscode.Uri): Promise<void> {
    const root = dirname(uri.fsPath);
    // Other programs have files of this name as well, and projects hold copies of others. Opening a project makes
    // the daemon read it: only where the user trusts what is in it.
    const unwanted = uri.scheme !== "file" || isLeftOut(root) || !vscode.workspace.isTrusted;
    if (unwanted || !(await isProject(uri))) {
      return;
    }
    const folder = await realpath(root);
    if (this.#known.has(root)) {
      return;
    }
    const limit = vscode.workspace.getConfiguration("pollinator", uri).get<number>("runsShown", 20);
    const project = new WatchedProject(root, folder, this.daemon, limit);
    project.onChanged(() => {
      this.#changed.fire();
    });
    project.onRunChanged((change) => {
      this.#runChanged.fire({ ...change, project });
    });
    this.#known.set(root, project);
    this.#announce();
  }

  #drop(root: string): void {
    this.#known.get(root)?.dispose();
    this.#known.delete(root);
    this.#announce();
  }

  #announce(): void {
    void vscode.commands.executeCommand("setContext", "pollinator.hasProject", this.#known.size > 0);
    this.#changed.fire();
  }
}

function isLeftOut(root: string): boolean {
  const inside = vscode.workspace.asRelativePath(root, false);
  // A folder of the workspace itself is told with all that is above it.
  return !isAbsolute(inside) && inside.split(/[/\\]/).some((each) => LEFT_OUT_FOLDERS.has(each));
}

/** A project.yaml of ours has the folder of trees beside it. */
export async function isProject(spec: vscode.Uri): Promise<boolean> {
  try {
    await vscode.workspace.fs.stat(spec);
    const { type } = await vscode.workspace.fs.stat(vscode.Uri.joinPath(spec, "../cfs"));
    return (type & vscode.FileType.Directory) !== 0;
  } catch {
    return false;
  }
}
