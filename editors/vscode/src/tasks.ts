// Runs as tasks: `{"type": "pollinator"}` in tasks.json, or from the list of tasks.

import { dirname } from "node:path";
import * as vscode from "vscode";
import type { RunCommands } from "./commands/runs";
import type { Daemon } from "./daemon/connection";
import type { Projects } from "./project/projects";
import type { WatchedProject } from "./project/watched";
import { FollowTerminal } from "./views/follow";

export const TASK_TYPE = "pollinator";

interface Definition extends vscode.TaskDefinition {
  /** The project's folder, absolute or from the workspace folder on. */
  readonly project?: string;
  readonly executor?: string;
}

export class RunTasks implements vscode.TaskProvider {
  constructor(
    private readonly daemon: Daemon,
    private readonly projects: Projects,
    private readonly commands: RunCommands,
  ) {}

  async provideTasks(): Promise<vscode.Task[]> {
    const { all } = await this.projects.known();
    return all.map((project) =>
      this.#task({ type: TASK_TYPE, project: vscode.workspace.asRelativePath(project.root) }, project),
    );
  }

  async resolveTask(task: vscode.Task): Promise<vscode.Task | undefined> {
    await this.projects.known();
    const definition = task.definition as Definition;
    const project = this.#named(definition.project ?? "", task.scope);
    // The same definition: the editor compares it with the one in tasks.json.
    return project === undefined ? undefined : this.#task(definition, project);
  }

  #task(definition: Definition, project: WatchedProject): vscode.Task {
    const where = definition.executor === undefined ? "" : ` on ${definition.executor}`;
    const folder = vscode.workspace.getWorkspaceFolder(vscode.Uri.file(project.root));
    const task = new vscode.Task(
      definition,
      folder ?? vscode.TaskScope.Workspace,
      `run ${project.state?.name ?? definition.project ?? ""}${where}`,
      TASK_TYPE,
      new vscode.CustomExecution(() => {
        const run = this.commands.start(project, definition.executor ?? "");
        return Promise.resolve(new FollowTerminal(this.daemon, { run }, true));
      }),
      // None: what is wrong is told by the daemon.
      [],
    );
    task.group = vscode.TaskGroup.Build;
    return task;
  }

  #named(name: string, scope: vscode.Task["scope"]): WatchedProject | undefined {
    const { all } = this.projects;
    if (name === "" || name === ".") {
      return all.length === 1 ? all[0] : undefined;
    }
    const folder = typeof scope === "object" ? scope.uri : vscode.workspace.workspaceFolders?.[0]?.uri;
    const path = folder === undefined ? name : vscode.Uri.joinPath(folder, name).fsPath;
    return all.find((each) => each.root === name || each.root === path || each.root === dirname(path));
  }
}
