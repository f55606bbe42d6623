// What a command is about: a project or a run, taken from where it was called or else asked for.

import * as vscode from "vscode";
import { DaemonError } from "../daemon/errors";
import type { Run } from "../generated/pollinator/v1/run";
import type { Projects } from "../project/projects";
import type { WatchedProject } from "../project/watched";
import { hasEnded, runWords, stateIcon, whenText } from "../project/words";

export const NO_PROJECT = "no_project";

/** The user closed a question without an answer. */
export class Dismissed extends Error {}

/** What commands are called with: a node of the tree, an address, or nothing. */
export type Argument =
  | vscode.Uri
  | { readonly id?: string; readonly project?: WatchedProject; readonly rank?: number };

/** The run that was pointed at; undefined where one has to be looked for. */
export function runNamedBy(argument: Argument | undefined): string | undefined {
  return argument instanceof vscode.Uri ? undefined : argument?.id;
}

export class Targets {
  constructor(private readonly projects: Projects) {}

  /** The project that is meant. */
  async project(argument: Argument | undefined): Promise<WatchedProject> {
    if (argument !== undefined && !(argument instanceof vscode.Uri) && argument.project !== undefined) {
      return argument.project;
    }
    const uri = argument instanceof vscode.Uri ? argument : vscode.window.activeTextEditor?.document.uri;
    const { all } = await this.projects.known();
    const found = this.projects.of(uri) ?? (all.length === 1 ? all[0] : undefined);
    if (found !== undefined) {
      return found;
    }
    if (all.length === 0) {
      throw new DaemonError("There is no project.yaml in this workspace", NO_PROJECT);
    }
    const items = all.map((project) => ({
      label: project.state?.name ?? project.root,
      description: project.root,
      project,
    }));
    const picked = await vscode.window.showQuickPick(items, {
      placeHolder: "Which project?",
      ignoreFocusOut: true,
    });
    return chosen(picked).project;
  }

  /** The run that is meant, of those that fit. */
  async run(
    argument: Argument | undefined,
    question: string,
    fits: (run: Run) => boolean = () => true,
    none = "There is no run yet",
  ): Promise<Run> {
    const id = runNamedBy(argument);
    const named = id === undefined ? undefined : this.projects.withRun(id)?.run(id);
    if (named !== undefined) {
      return named;
    }
    const runs = (await this.project(argument)).runs.filter(fits);
    if (runs.length === 0) {
      throw new Error(none);
    }
    return await pickRun(runs, question);
  }

  /** The run that does not end by itself soon enough: without a question when there is only one. */
  async activeRun(argument: Argument | undefined): Promise<Run> {
    const looked = runNamedBy(argument) === undefined;
    const active = looked ? (await this.project(argument)).runs.filter((run) => !hasEnded(run)) : [];
    const [only] = active;
    return active.length === 1 && only !== undefined
      ? only
      : await this.run(argument, "Which run?", (run) => !hasEnded(run), "No run is going on");
  }
}

/** Ask for one of some runs. */
export async function pickRun(runs: readonly Run[], question: string): Promise<Run> {
  const items = runs.map(itemOf);
  const picked = await vscode.window.showQuickPick(items, { placeHolder: question, ignoreFocusOut: true });
  return chosen(picked).run;
}

/** A run in a list to choose from. */
export function itemOf(run: Run): vscode.QuickPickItem & { readonly run: Run } {
  const label = `$(${stateIcon(run.state)[0]}) ${whenText(run.acceptTime)}`;
  return { label, description: runWords(run), run };
}

/** An answer, unless there was none. */
export function chosen<T>(picked: T | undefined): T {
  if (picked === undefined) {
    throw new Dismissed();
  }
  return picked;
}
