// What the first steps are ticked off by: each is done when there is something to show for it.

import * as vscode from "vscode";
import type { Projects } from "../project/projects";
import { hasEnded } from "../project/words";
import type { Node } from "./tree";

/** The executor that is there without being added. */
const HERE = "local";

export type Step = "installed" | "hasRun" | "looked" | "ranElsewhere";

/** A step has been done. */
export function tick(step: Step): void {
  void vscode.commands.executeCommand("setContext", `pollinator.${step}`, true);
}

/** Ticks the steps that show in projects and their runs. */
export class Steps {
  readonly #done = new Set<Step>();

  constructor(
    private readonly projects: Projects,
    private readonly tree: vscode.TreeView<Node>,
  ) {
    projects.onChanged(() => {
      this.#look();
    });
    tree.onDidChangeVisibility(() => {
      this.#look();
    });
  }

  #look(): void {
    const { all } = this.projects;
    const runs = all.flatMap((each) => each.runs);
    this.#tickIf(
      "installed",
      all.some((each) => each.state !== undefined),
    );
    this.#tickIf("hasRun", runs.length > 0);
    this.#tickIf("looked", this.tree.visible && runs.some(hasEnded));
    this.#tickIf(
      "ranElsewhere",
      runs.some((run) => run.executor !== "" && run.executor !== HERE),
    );
  }

  #tickIf(step: Step, done: boolean): void {
    if (done && !this.#done.has(step)) {
      this.#done.add(step);
      tick(step);
    }
  }
}
