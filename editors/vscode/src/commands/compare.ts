// Looking back: what differs between two runs, and results of an earlier one.

import * as vscode from "vscode";
import { LONG_MS, type Daemon } from "../daemon/connection";
import { diskUri, runUri } from "../documents/uris";
import { settingsUri } from "../documents/settings";
import {
  ChangeKind,
  DiffRunsRequest,
  ProjectServiceService,
  PullResultsRequest,
  type DiffRunsResponse,
  type FileChange,
} from "../generated/pollinator/v1/project";
import type { Run } from "../generated/pollinator/v1/run";
import type { Projects } from "../project/projects";
import { countText, whenText } from "../project/words";
import { chosen, itemOf, type Argument, type Targets } from "./targets";

type Sides = [label: vscode.Uri, before: vscode.Uri | undefined, after: vscode.Uri | undefined];

export class CompareCommands {
  constructor(
    private readonly daemon: Daemon,
    private readonly projects: Projects,
    private readonly targets: Targets,
  ) {}

  /** What changed between a run and another, or the files on disk. */
  async diffRuns(argument?: Argument): Promise<void> {
    const [base, other] = inOrder(...(await this.#both(argument)));
    const request = DiffRunsRequest.fromPartial({ baseRunId: base.id, runId: other?.id ?? "" });
    const diff = await this.daemon.ask(ProjectServiceService.diffRuns, request, LONG_MS);
    const title = `${whenText(base.acceptTime)} ↔ ${other === undefined ? "now" : whenText(other.acceptTime)}`;
    // Its folder as this window has it: then the files on disk are those that are open here.
    const root = this.projects.withRun(base.id)?.root ?? base.root;
    const sides = [...settingsOf(diff), ...diff.files.map((each) => sidesOf(each, root, base, other))];
    if (sides.length > 0) {
      await vscode.commands.executeCommand("vscode.changes", title, sides);
    } else {
      void vscode.window.showInformationMessage("Both are the same.");
    }
  }

  /** Lay the results of a run out in the project, without overwriting what was edited. */
  async pullResults(argument?: Argument): Promise<void> {
    const run = await this.targets.run(
      argument,
      "Results of which run?",
      (each) => each.result !== undefined,
      "No run has left results",
    );
    const request = PullResultsRequest.fromPartial({ runId: run.id });
    const answer = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: "Pollinator: fetching results" },
      async () => await this.daemon.ask(ProjectServiceService.pullResults, request, LONG_MS),
    );
    const words = `${countText(answer.filesWritten, "file")} written, ${answer.filesUnchanged} as they were`;
    if (answer.conflicts.length === 0) {
      void vscode.window.showInformationMessage(`Results are in ${answer.directory}: ${words}.`);
    } else {
      const beside = answer.conflicts.join(", ");
      void vscode.window.showWarningMessage(
        `${words}; files edited here were kept, those of the run are ${beside}.`,
      );
    }
  }

  /** The runs to compare; undefined stands for the files on disk. */
  async #both(argument: Argument | undefined): Promise<[Run, Run | undefined]> {
    const base = await this.targets.run(argument, "Compare which run?");
    const runs = this.projects.withRun(base.id)?.runs ?? [];
    const items = [
      { label: "$(edit) The files as they are now", run: undefined },
      ...runs.filter((run) => run.id !== base.id).map(itemOf),
    ];
    const picked = await vscode.window.showQuickPick(items, {
      placeHolder: "Compare with what?",
      ignoreFocusOut: true,
    });
    return [base, chosen(picked).run];
  }
}

/** The older one first, whichever was chosen first: then what was added is told as added. */
function inOrder(one: Run, other: Run | undefined): [Run, Run | undefined] {
  return other !== undefined && other.id < one.id ? [other, one] : [one, other];
}

function sidesOf(change: FileChange, root: string, base: Run, other: Run | undefined): Sides {
  const path = new TextDecoder().decode(change.path);
  const before = runUri(root, base.id, path);
  const after = other === undefined ? diskUri(root, path) : runUri(root, other.id, path);
  return [
    after,
    change.kind === ChangeKind.CHANGE_KIND_ADDED ? undefined : before,
    change.kind === ChangeKind.CHANGE_KIND_REMOVED ? undefined : after,
  ];
}

/** Settings that differ are shown like one more file. */
function settingsOf({ settings }: DiffRunsResponse): Sides[] {
  if (settings.length === 0) {
    return [];
  }
  const before = settings.map((each) => [each.name, each.baseValue] as const);
  const after = settings.map((each) => [each.name, each.value] as const);
  return [[settingsUri(after), settingsUri(before), settingsUri(after)]];
}
