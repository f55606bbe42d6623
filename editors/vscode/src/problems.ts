// Problems in the editor: of project.yaml while it is typed, and of sources that a failed run names.

import { basename, dirname, join } from "node:path";
import * as vscode from "vscode";
import type { Daemon } from "./daemon/connection";
import { toDaemonError } from "./daemon/errors";
import {
  CheckSpecRequest,
  ListProblemsRequest,
  ProjectServiceService,
  type Problem,
} from "./generated/pollinator/v1/project";
import { RunState, Severity, type Run } from "./generated/pollinator/v1/run";
import { isProject, type ProjectRunChange, type Projects } from "./project/projects";
import { hasEnded, shortId } from "./project/words";

const TYPING_MS = 250;

export class Problems {
  readonly #ofSpec = vscode.languages.createDiagnosticCollection("pollinator");
  readonly #ofRuns = vscode.languages.createDiagnosticCollection("pollinator-runs");
  readonly #typing = new Map<string, NodeJS.Timeout>();
  /** By project: the files in which problems of a run are shown. */
  readonly #shown = new Map<string, vscode.Uri[]>();
  readonly #subscriptions: vscode.Disposable[];

  constructor(
    private readonly daemon: Daemon,
    projects: Projects,
    private readonly log: (line: string) => void,
  ) {
    this.#subscriptions = [
      vscode.workspace.onDidOpenTextDocument((document) => {
        this.#look(document);
      }),
      vscode.workspace.onDidChangeTextDocument((event) => {
        this.#look(event.document);
      }),
      vscode.workspace.onDidCloseTextDocument((document) => {
        this.#ofSpec.delete(document.uri);
      }),
      vscode.workspace.onDidGrantWorkspaceTrust(() => {
        this.#lookAtAll();
      }),
      projects.onRunChanged((change) => {
        void this.#onRun(change);
      }),
    ];
    this.#lookAtAll();
  }

  #lookAtAll(): void {
    vscode.workspace.textDocuments.forEach((document) => {
      this.#look(document);
    });
  }

  dispose(): void {
    vscode.Disposable.from(...this.#subscriptions, this.#ofSpec, this.#ofRuns).dispose();
    for (const timer of this.#typing.values()) {
      clearTimeout(timer);
    }
  }

  #look(document: vscode.TextDocument): void {
    if (document.uri.scheme !== "file" || basename(document.uri.fsPath) !== "project.yaml") {
      return;
    }
    const key = document.uri.toString();
    clearTimeout(this.#typing.get(key));
    this.#typing.set(
      key,
      setTimeout(() => {
        this.#typing.delete(key);
        void this.#check(document);
      }, TYPING_MS),
    );
  }

  async #check(document: vscode.TextDocument): Promise<void> {
    if (!vscode.workspace.isTrusted || !(await isProject(document.uri))) {
      return;
    }
    const { version } = document;
    const request = CheckSpecRequest.fromPartial({
      root: dirname(document.uri.fsPath),
      text: document.getText(),
    });
    try {
      const { problems } = await this.daemon.ask(ProjectServiceService.checkSpec, request);
      // Somebody typed on meanwhile: the next answer is on its way.
      if (document.version === version && !document.isClosed) {
        this.#ofSpec.set(
          document.uri,
          problems.map((each) => diagnosticOf(each, document)),
        );
      }
    } catch (thrown) {
      this.log(`project.yaml was not checked: ${toDaemonError(thrown).message}`);
    }
  }

  async #onRun({ project, run }: ProjectRunChange): Promise<void> {
    if (project.runs[0]?.id !== run.id) {
      return;
    }
    if (!hasEnded(run) || run.state !== RunState.RUN_STATE_FAILED) {
      this.#clear(project.root);
      return;
    }
    try {
      const request = ListProblemsRequest.fromPartial({ runId: run.id });
      const { problems } = await this.daemon.ask(ProjectServiceService.listProblems, request);
      if (project.runs[0].id === run.id) {
        this.#show(project.root, run, problems);
      }
    } catch (thrown) {
      this.log(`problems of run ${run.id}: ${toDaemonError(thrown).message}`);
    }
  }

  #show(root: string, run: Run, problems: readonly Problem[]): void {
    this.#clear(root);
    const byFile = new Map<string, vscode.Diagnostic[]>();
    for (const each of problems) {
      const path = join(root, each.path);
      const open = vscode.workspace.textDocuments.find((document) => document.uri.fsPath === path);
      const diagnostic = diagnosticOf(each, open);
      diagnostic.source = `pollinator run ${shortId(run.id)}`;
      byFile.set(path, [...(byFile.get(path) ?? []), diagnostic]);
    }
    for (const [path, diagnostics] of byFile) {
      this.#ofRuns.set(vscode.Uri.file(path), diagnostics);
    }
    this.#shown.set(
      root,
      [...byFile.keys()].map((path) => vscode.Uri.file(path)),
    );
  }

  #clear(root: string): void {
    for (const uri of this.#shown.get(root) ?? []) {
      this.#ofRuns.delete(uri);
    }
    this.#shown.delete(root);
  }
}

function diagnosticOf(problem: Problem, document: vscode.TextDocument | undefined): vscode.Diagnostic {
  const text = problem.hint === "" ? problem.message : `${problem.message}\n${problem.hint}`;
  const diagnostic = new vscode.Diagnostic(rangeOf(problem, document), text, severityOf(problem));
  diagnostic.source = "pollinator";
  diagnostic.code = problem.code;
  return diagnostic;
}

/** Without a column the words of the line, without a line the first. */
function rangeOf(problem: Problem, document: vscode.TextDocument | undefined): vscode.Range {
  const last = (document?.lineCount ?? Number.MAX_SAFE_INTEGER) - 1;
  const line = Math.min(Math.max(0, problem.line - 1), Math.max(0, last));
  const text = document?.lineAt(line);
  if (problem.column > 0) {
    const start = unitsOf(text?.text, problem.column - 1);
    const end = problem.endColumn > problem.column ? unitsOf(text?.text, problem.endColumn - 1) : start + 1;
    return new vscode.Range(line, start, line, end);
  }
  return new vscode.Range(
    line,
    text?.firstNonWhitespaceCharacterIndex ?? 0,
    line,
    text?.text.length ?? 1_000,
  );
}

/** The daemon counts characters, the editor UTF-16 units: some characters are two of those. */
function unitsOf(line: string | undefined, characters: number): number {
  return line === undefined ? characters : Array.from(line).slice(0, characters).join("").length;
}

function severityOf(problem: Problem): vscode.DiagnosticSeverity {
  switch (problem.severity) {
    case Severity.SEVERITY_INFO:
      return vscode.DiagnosticSeverity.Information;
    case Severity.SEVERITY_WARNING:
      return vscode.DiagnosticSeverity.Warning;
    default:
      return vscode.DiagnosticSeverity.Error;
  }
}
