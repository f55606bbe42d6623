// Starting, following and ending runs.

import { randomUUID } from "node:crypto";
import { hostname, userInfo } from "node:os";
import * as vscode from "vscode";
import { LONG_MS, type Daemon } from "../daemon/connection";
import { ExecutorRegistryServiceService } from "../generated/pollinator/v1/executor";
import {
  CancelRunRequest,
  RunServiceService,
  StartRunRequest,
  type DeepPartial,
  type Run,
} from "../generated/pollinator/v1/run";
import type { Projects } from "../project/projects";
import type { WatchedProject } from "../project/watched";
import { hasEnded, runWords, whenText } from "../project/words";
import { showFollow } from "../views/follow";
import { chosen, runNamedBy, type Argument, type Targets } from "./targets";

/** More than a terminal keeps is not asked for. */
const TAIL_LINES = 10_000;

export class RunCommands {
  constructor(
    private readonly daemon: Daemon,
    private readonly projects: Projects,
    private readonly targets: Targets,
  ) {}

  /** Start a run of the files as they are now. */
  async run(argument?: Argument): Promise<void> {
    const project = await this.targets.project(argument);
    const run = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Window, title: "Pollinator: starting a run" },
      async () => await this.start(project),
    );
    if (hasEnded(run) && run.outcome !== undefined && run.outcome.detail !== "") {
      throw new Error(run.outcome.detail);
    }
  }

  /** Start a run and show it. */
  async runFollow(argument?: Argument): Promise<void> {
    const project = await this.targets.project(argument);
    this.#follow(project.folder, this.start(project), () => {
      void vscode.commands.executeCommand(
        "pollinator.runFollow",
        vscode.Uri.file(`${project.root}/project.yaml`),
      );
    });
  }

  /** Ask for an executor first. */
  async runOn(argument?: Argument): Promise<void> {
    const project = await this.targets.project(argument);
    const { executors } = await this.daemon.ask(ExecutorRegistryServiceService.listExecutors, {});
    const items = executors.map((each) => ({
      label: each.name,
      description: each.kind,
      detail: each.healthDetail,
    }));
    const { label } = chosen(
      await vscode.window.showQuickPick(items, { placeHolder: "Run on which executor?" }),
    );
    this.#follow(project.folder, this.start(project, label));
  }

  async cancel(argument?: Argument): Promise<void> {
    const run = await this.targets.activeRun(argument);
    if (runNamedBy(argument) === undefined && !(await isMeant(run))) {
      return;
    }
    const by = `${userInfo().username}@${hostname()}`;
    const request = CancelRunRequest.fromPartial({ runId: run.id, by });
    const answer = await this.daemon.ask(RunServiceService.cancelRun, request);
    this.#take(answer.run);
  }

  /** Run again exactly what an earlier run ran. */
  async rerun(argument?: Argument): Promise<void> {
    const run = await this.targets.run(argument, "Which run again?");
    this.#follow(run.root, this.#start({ $case: "rerun", value: { runId: run.id } }));
  }

  /** Show what a run or one of its ranks printed, and go on with it. */
  async openLogs(argument?: Argument): Promise<void> {
    const run = await this.targets.run(argument, "Which run's output?");
    const rank = argument instanceof vscode.Uri ? undefined : argument?.rank;
    const followed = { run: Promise.resolve(run), root: run.root, tailLines: TAIL_LINES };
    showFollow(this.daemon, rank === undefined ? followed : { ...followed, rank }, true);
  }

  /** Start a run of a project, saved before. */
  async start(project: WatchedProject, executor = ""): Promise<Run> {
    await saveAll(project);
    const overrides = executor === "" ? undefined : { executor };
    const value = { root: project.folder, ...(overrides === undefined ? {} : { overrides }) };
    return await this.#start({ $case: "project", value });
  }

  async #start(what: NonNullable<DeepPartial<StartRunRequest>["what"]>): Promise<Run> {
    // A repeat with the same id answers with the same run, so the call may be made again after a cut.
    const request = StartRunRequest.fromPartial({ requestId: randomUUID(), what });
    const { run } = await this.daemon.ask(RunServiceService.startRun, request, LONG_MS);
    if (run === undefined) {
      throw new Error("The daemon has answered without a run.");
    }
    this.#take(run);
    return run;
  }

  #follow(root: string, run: Promise<Run>, again?: () => void): void {
    const reveal = vscode.workspace.getConfiguration("pollinator").get<boolean>("revealOutput", true);
    showFollow(this.daemon, again === undefined ? { root, run } : { root, run, again }, reveal);
  }

  #take(run: Run | undefined): void {
    if (run !== undefined) {
      this.projects.all.find((each) => each.folder === run.root)?.take(run);
    }
  }
}

/** Of a command or a key, nobody has seen which run it is about. */
async function isMeant(run: Run): Promise<boolean> {
  const settings = vscode.workspace.getConfiguration("pollinator");
  if (!settings.get<boolean>("confirmCancel", true)) {
    return true;
  }
  const answer = await vscode.window.showWarningMessage(
    `Cancel the run of ${run.project} from ${whenText(run.acceptTime)}?`,
    { modal: true, detail: runWords(run) },
    { title: "Cancel Run" },
    { title: "Let It Go On", isCloseAffordance: true },
  );
  return answer?.title === "Cancel Run";
}

/** Write what was typed in a project, if the user wants that. */
async function saveAll(project: WatchedProject): Promise<void> {
  if (!vscode.workspace.getConfiguration("pollinator").get<boolean>("saveBeforeRun", true)) {
    return;
  }
  const inside = vscode.workspace.textDocuments.filter(
    (each) => each.isDirty && each.uri.scheme === "file" && each.uri.fsPath.startsWith(`${project.root}/`),
  );
  for (const document of inside) {
    if (!(await document.save())) {
      throw new Error(`${document.uri.fsPath} could not be saved; nothing was run.`);
    }
  }
}
