// One entry in the status bar: how far files are, what runs, what waits and why.

import * as vscode from "vscode";
import { ProjectState } from "../generated/pollinator/v1/project";
import type { Run } from "../generated/pollinator/v1/run";
import type { Projects } from "../project/projects";
import { hasEnded, isWaiting, ranFor, stateWord, whenText } from "../project/words";
import { syncWords } from "./tree";

const PRIORITY = 50;

export class StatusBar {
  readonly #item = vscode.window.createStatusBarItem("pollinator", vscode.StatusBarAlignment.Left, PRIORITY);

  constructor(private readonly projects: Projects) {
    this.#item.name = "Pollinator";
    this.#item.command = "pollinator.runs.focus";
    projects.onChanged(() => {
      this.#update();
    });
    this.#update();
  }

  dispose(): void {
    this.#item.dispose();
  }

  #update(): void {
    const { all } = this.projects;
    if (all.length === 0) {
      this.#item.hide();
      return;
    }
    const active = all.flatMap((each) => each.runs).filter((run) => !hasEnded(run));
    const waiting = active.filter(isWaiting);
    const backlog = all.reduce((sum, each) => sum + (each.state?.backlogFiles ?? 0), 0);
    const troubled = all.some((each) => each.problem !== undefined || (each.state?.problem ?? "") !== "");
    const parts = [troubled ? "$(warning) Pollinator" : "$(rocket) Pollinator"];
    if (backlog > 0) {
      parts.push(`$(cloud-upload) ${backlog}`);
    }
    if (active.length > waiting.length) {
      parts.push(`$(sync~spin) ${active.length - waiting.length}`);
    }
    if (waiting.length > 0) {
      parts.push(`$(watch) ${waiting.length}`);
    }
    this.#item.text = parts.join("  ");
    const running = `${active.length - waiting.length} running, ${waiting.length} waiting`;
    const trouble = troubled ? ", look at it" : "";
    this.#item.accessibilityInformation = { label: `Pollinator: ${running}, ${backlog} to store${trouble}` };
    this.#item.tooltip = this.#tooltip(active);
    this.#item.backgroundColor = troubled
      ? new vscode.ThemeColor("statusBarItem.warningBackground")
      : undefined;
    this.#item.show();
  }

  #tooltip(active: readonly Run[]): vscode.MarkdownString {
    const text = new vscode.MarkdownString();
    for (const project of this.projects.all) {
      const problem = project.problem?.text ?? project.state?.problem ?? "";
      const name = project.state?.name ?? project.root;
      text.appendMarkdown("**").appendText(name).appendMarkdown("** ");
      text.appendText(problem === "" ? syncWords(project) : problem).appendMarkdown("\n\n");
      if (project.state?.state !== ProjectState.PROJECT_STATE_MISSING && project.state?.degraded) {
        text.appendText(project.state.degraded).appendMarkdown("\n\n");
      }
    }
    for (const run of active) {
      text.appendText(
        `${whenText(run.acceptTime)} ${stateWord(run.state)} ${ranFor(run)} on ${run.executor}`,
      );
      text.appendMarkdown("  \n");
      if (run.pending !== undefined) {
        const eta = run.pending.eta === undefined ? "" : `; may start at ${whenText(run.pending.eta)}`;
        const action = run.pending.action === "" ? "" : ` (${run.pending.action})`;
        text.appendText(`  ${run.pending.text}${eta}${action}`).appendMarkdown("  \n");
      }
    }
    return text;
  }
}
