// The tree of projects, their runs, and what is known of each run: ranks, results, reasons.

import { basename } from "node:path";
import * as vscode from "vscode";
import type { Entry, RunFiles } from "../documents/files";
import { runUri } from "../documents/uris";
import { RunState, type Run } from "../generated/pollinator/v1/run";
import { ProjectState } from "../generated/pollinator/v1/project";
import type { Projects } from "../project/projects";
import type { WatchedProject } from "../project/watched";
import {
  bytesText,
  countText,
  endWords,
  hasEnded,
  ranFor,
  runWords,
  stateIcon,
  stateWord,
  whenText,
} from "../project/words";
import { ranksOf } from "./screen";

const SETTLE_MS = 100;
const TICK_MS = 1_000;
const RANKS_AT_MOST = 128;

interface ProjectNode {
  readonly kind: "project";
  readonly project: WatchedProject;
}

interface RunNode {
  readonly kind: "run";
  readonly project: WatchedProject;
  readonly id: string;
}

export type Node =
  | ProjectNode
  | RunNode
  | { readonly kind: "rank"; readonly project: WatchedProject; readonly id: string; readonly rank: number }
  | { readonly kind: "results"; readonly project: WatchedProject; readonly id: string; readonly path: string }
  | { readonly kind: "file"; readonly root: string; readonly id: string; readonly entry: Entry }
  | {
      readonly kind: "words";
      readonly id: string;
      readonly at: number;
      readonly words: string;
      readonly icon: string;
    };

export class RunTree implements vscode.TreeDataProvider<Node> {
  readonly #changed = new vscode.EventEmitter<Node[] | undefined>();
  readonly #tick: NodeJS.Timeout;
  /** Nodes of projects and runs that the editor has, which knows them by identity, and how they look there. */
  readonly #shown = new Map<string, { readonly node: ProjectNode | RunNode; looks: string }>();
  #roots: readonly WatchedProject[] = [];
  #settling: NodeJS.Timeout | undefined;

  readonly onDidChangeTreeData = this.#changed.event;

  constructor(
    private readonly projects: Projects,
    private readonly files: RunFiles,
  ) {
    projects.onChanged(() => {
      this.#settling ??= setTimeout(() => {
        this.#settling = undefined;
        this.#renew();
      }, SETTLE_MS);
    });
    this.#tick = setInterval(() => {
      this.#renew();
    }, TICK_MS);
  }

  dispose(): void {
    clearInterval(this.#tick);
    clearTimeout(this.#settling);
    this.#changed.dispose();
  }

  getTreeItem(node: Node): vscode.TreeItem {
    switch (node.kind) {
      case "project":
        return projectItem(node.project);
      case "run":
        return runItem(node.project.run(node.id), node.id);
      case "rank":
        return rankItem(node.project.run(node.id), node.id, node.rank);
      case "results":
        return resultsItem(node.id, node.path);
      case "file":
        return fileItem(node.root, node.id, node.entry);
      case "words":
        return wordsItem(node);
    }
  }

  async getChildren(node?: Node): Promise<Node[]> {
    switch (node?.kind) {
      case undefined:
        this.#shown.clear();
        this.#roots = this.projects.all;
        return this.#roots.map((project) => this.#kept({ kind: "project", project }));
      case "project":
        return this.#ofProject(node.project);
      case "run":
        return ofRun(node.project, node.id);
      case "results":
        return await this.#ofResults(node.project, node.id, node.path);
      default:
        return [];
    }
  }

  #ofProject(project: WatchedProject): Node[] {
    for (const [key, { node }] of this.#shown) {
      if (node.kind === "run" && node.project.run(node.id) === undefined) {
        this.#shown.delete(key);
      }
    }
    const words = problemOf(project)
      .split("\n")
      .filter((each) => each !== "");
    const nodes = words.map(
      (line, at): Node => ({ kind: "words", id: project.root, at, words: line, icon: "warning" }),
    );
    return [...nodes, ...project.runs.map((run) => this.#kept({ kind: "run", project, id: run.id }))];
  }

  /** The node that the editor has, if it has one; it is shown as it is now. */
  #kept(node: ProjectNode | RunNode): Node {
    const key = node.kind === "run" ? node.id : node.project.root;
    const shown = this.#shown.get(key) ?? { node, looks: "" };
    shown.looks = looksOf(node);
    this.#shown.set(key, shown);
    return shown.node;
  }

  /** Tell of what looks different now, and of no more: what is open over the rest stays. */
  #renew(): void {
    const { all } = this.projects;
    if (all.length !== this.#roots.length || all.some((each, at) => each !== this.#roots[at])) {
      this.#changed.fire(undefined);
      return;
    }
    const different: Node[] = [];
    for (const shown of this.#shown.values()) {
      const looks = looksOf(shown.node);
      if (shown.looks !== looks) {
        shown.looks = looks;
        different.push(shown.node);
      }
    }
    if (different.length > 0) {
      this.#changed.fire(different);
    }
  }

  async #ofResults(project: WatchedProject, id: string, path: string): Promise<Node[]> {
    const entries = await this.files.below(id, path);
    return entries.map((each) =>
      each.directory
        ? { kind: "results", project, id, path: each.path }
        : { kind: "file", root: project.root, id, entry: each },
    );
  }
}

function problemOf(project: WatchedProject): string {
  return project.problem?.text ?? project.state?.problem ?? "";
}

/** All that can be seen of a project itself and which runs it has, or of a run; what lies below comes with it. */
function looksOf(node: ProjectNode | RunNode): string {
  const { project } = node;
  if (node.kind === "project") {
    const ids = project.runs.map((run) => run.id);
    return JSON.stringify([project.state?.name, syncWords(project), problemOf(project), ids]);
  }
  const run = project.run(node.id);
  return run === undefined ? "" : JSON.stringify([run.lastSeq, run.pending?.text, runWords(run)]);
}

function ofRun(project: WatchedProject, id: string): Node[] {
  const run = project.run(id);
  if (run === undefined) {
    return [];
  }
  const nodes: Node[] = [];
  if (run.outcome !== undefined && run.outcome.detail !== "" && run.state !== RunState.RUN_STATE_SUCCEEDED) {
    nodes.push({ kind: "words", id, at: nodes.length, words: run.outcome.detail, icon: "info" });
  }
  if (run.pending !== undefined && !hasEnded(run)) {
    nodes.push({ kind: "words", id, at: nodes.length, words: run.pending.text, icon: "watch" });
  }
  for (const notice of run.notices) {
    nodes.push({ kind: "words", id, at: nodes.length, words: notice.text, icon: "comment" });
  }
  const ranks = Math.min(ranksOf(run), RANKS_AT_MOST);
  for (let rank = 0; rank < ranks; rank += 1) {
    nodes.push({ kind: "rank", project, id, rank });
  }
  if (run.result !== undefined) {
    nodes.push({ kind: "results", project, id, path: "result" });
  }
  return nodes;
}

function projectItem(project: WatchedProject): vscode.TreeItem {
  const { state, problem } = project;
  const item = new vscode.TreeItem(
    state?.name ?? basename(project.root),
    vscode.TreeItemCollapsibleState.Expanded,
  );
  item.id = project.root;
  item.contextValue = "project";
  item.iconPath = new vscode.ThemeIcon("project");
  item.tooltip = project.root;
  item.resourceUri = vscode.Uri.file(project.root);
  item.description = problem === undefined ? syncWords(project) : "no word from the daemon";
  return item;
}

/** How far its files are. */
export function syncWords(project: WatchedProject): string {
  const { state } = project;
  switch (state?.state) {
    case ProjectState.PROJECT_STATE_SCANNING:
      return "is read for the first time";
    case ProjectState.PROJECT_STATE_SYNCING:
      return `${countText(state.backlogFiles, "file")} to store, ${bytesText(state.backlogBytes)}`;
    case ProjectState.PROJECT_STATE_HALTED:
      return "sync is halted";
    case ProjectState.PROJECT_STATE_MISSING:
      return "the folder is gone";
    case ProjectState.PROJECT_STATE_IN_SYNC:
      return "in sync";
    default:
      return "";
  }
}

function runItem(run: Run | undefined, id: string): vscode.TreeItem {
  if (run === undefined) {
    return new vscode.TreeItem(id);
  }
  const item = new vscode.TreeItem(whenText(run.acceptTime), vscode.TreeItemCollapsibleState.Collapsed);
  const [icon, colour] = stateIcon(run.state);
  item.id = id;
  item.description = runWords(run);
  item.iconPath = new vscode.ThemeIcon(icon, colour === "" ? undefined : new vscode.ThemeColor(colour));
  item.contextValue = `run.${hasEnded(run) ? "ended" : "active"}${run.result === undefined ? "" : ".results"}`;
  item.tooltip = runTooltip(run);
  item.accessibilityInformation = { label: `${whenText(run.acceptTime)} ${item.description}` };
  return item;
}

function runTooltip(run: Run): vscode.MarkdownString {
  const rows = [
    ["run", run.id],
    ["state", [stateWord(run.state), endWords(run.outcome)].filter((each) => each !== "").join(", ")],
    ["executor", run.executor],
    ["nodes", run.nodes.join(", ")],
    ["command", run.spec === undefined ? "" : `${run.spec.command} ${run.spec.source}`.trim()],
    ["accepted", whenText(run.acceptTime)],
    ["ran for", ranFor(run)],
    ["peak memory", run.usage === undefined ? "" : bytesText(run.usage.peakMemoryBytes)],
    ["commit", run.gitCommit],
    ["repeats", run.rerunOf],
  ];
  const text = new vscode.MarkdownString();
  for (const [name, value] of rows) {
    if (value !== "" && value !== undefined) {
      text.appendText(`${name}: ${value}`).appendMarkdown("  \n");
    }
  }
  return text;
}

function rankItem(run: Run | undefined, id: string, rank: number): vscode.TreeItem {
  const item = new vscode.TreeItem(`rank ${rank}`);
  const perNode = Math.max(1, run?.spec?.processesPerNode ?? 1);
  const node = run?.nodes[Math.floor(rank / perNode)] ?? "";
  item.id = `${id} rank ${rank}`;
  const failed = run?.state === RunState.RUN_STATE_FAILED && run.outcome?.rank === rank;
  item.description = failed ? `${node} · failed` : node;
  item.iconPath = failed
    ? new vscode.ThemeIcon("error", new vscode.ThemeColor("testing.iconFailed"))
    : new vscode.ThemeIcon("terminal");
  item.contextValue = "rank";
  item.command = {
    command: "pollinator.openLogs",
    title: "Show Output",
    arguments: [{ kind: "rank", id, rank }],
  };
  return item;
}

function resultsItem(id: string, path: string): vscode.TreeItem {
  const name = path === "result" ? "results" : path.slice(path.lastIndexOf("/") + 1);
  const item = new vscode.TreeItem(name, vscode.TreeItemCollapsibleState.Collapsed);
  item.id = `${id} ${path}`;
  item.iconPath = vscode.ThemeIcon.Folder;
  item.contextValue = path === "result" ? "results" : "folder";
  return item;
}

function fileItem(root: string, id: string, { path, size, target }: Entry): vscode.TreeItem {
  const item = new vscode.TreeItem(runUri(root, id, path));
  item.id = `${id} ${path}`;
  item.contextValue = "file";
  if (target !== "") {
    item.description = `→ ${target}`;
    item.tooltip = `a symbolic link to ${target}`;
    item.iconPath = new vscode.ThemeIcon("file-symlink-file");
    return item;
  }
  item.description = bytesText(size);
  item.iconPath = vscode.ThemeIcon.File;
  item.command = { command: "vscode.open", title: "Open", arguments: [item.resourceUri] };
  return item;
}

function wordsItem(node: {
  readonly id: string;
  readonly at: number;
  readonly words: string;
  readonly icon: string;
}): vscode.TreeItem {
  const item = new vscode.TreeItem(node.words);
  item.id = `${node.id} words ${node.at}`;
  item.iconPath = new vscode.ThemeIcon(node.icon);
  item.tooltip = node.words;
  return item;
}
