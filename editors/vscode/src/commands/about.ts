// Beginning and finding out what is wrong: a new project, and what the daemon says of itself.

import { homedir } from "node:os";
import { dirname, join } from "node:path";
import * as vscode from "vscode";
import { LONG_MS, type Daemon, type Wishes } from "../daemon/connection";
import { toDaemonError } from "../daemon/errors";
import { call, findProgram } from "../daemon/program";
import { CheckStatus, DaemonServiceService, DiagnoseRequest } from "../generated/pollinator/v1/daemon";
import type { Projects } from "../project/projects";
import { tick } from "../views/steps";
import { chosen } from "./targets";

const MARKS = new Map([
  [CheckStatus.CHECK_STATUS_OK, "ok      "],
  [CheckStatus.CHECK_STATUS_FAILED, "FAILED  "],
]);

export class AboutCommands {
  constructor(
    private readonly daemon: Daemon,
    private readonly projects: Projects,
    private readonly wishes: Wishes,
    private readonly output: vscode.LogOutputChannel,
  ) {}

  /** Check the program, the daemon, executors and projects, and show what was found. */
  async doctor(): Promise<void> {
    this.output.show(true);
    try {
      const program = await findProgram(this.wishes.program());
      this.#say("ok      ", `program: ${program}`);
      const info = await this.daemon.ask(DaemonServiceService.getInfo, {});
      this.#say("ok      ", `daemon: version ${info.version}, process ${info.pid}`);
      tick("installed");
      const roots = this.projects.all.map((each) => each.folder);
      for (const root of roots.length === 0 ? [""] : roots) {
        const request = DiagnoseRequest.fromPartial({ root });
        const { checks } = await this.daemon.ask(DaemonServiceService.diagnose, request, LONG_MS);
        for (const check of checks) {
          this.#say(MARKS.get(check.status) ?? "warning ", `${check.name}: ${check.detail}`);
          if (check.hint !== "" && check.status !== CheckStatus.CHECK_STATUS_OK) {
            this.#say("        ", `-> ${check.hint}`);
          }
        }
      }
    } catch (thrown) {
      this.#say("FAILED  ", toDaemonError(thrown).text);
    }
  }

  /** Make a project in a folder that the user names, and open it. */
  async newProject(): Promise<void> {
    const folders = await vscode.window.showOpenDialog({
      canSelectFiles: false,
      canSelectFolders: true,
      defaultUri: this.#besideProjects(),
      openLabel: "Make the project here",
      title: "Where shall the new project be?",
    });
    const [folder] = chosen(folders);
    if (folder === undefined) {
      return;
    }
    const program = await findProgram(this.wishes.program());
    const ended = await call(program, "new", "--here", folder.fsPath);
    if (ended.code !== 0) {
      throw new Error(ended.messages.trim());
    }
    if (vscode.workspace.getWorkspaceFolder(folder) === undefined) {
      await vscode.commands.executeCommand("vscode.openFolder", folder);
      return;
    }
    await this.projects.find();
    await vscode.window.showTextDocument(vscode.Uri.file(join(folder.fsPath, "cfs/src/main.py")));
  }

  /** Not the folder of the file that is open: it belongs to a project already. */
  #besideProjects(): vscode.Uri {
    const open = vscode.workspace.workspaceFolders?.[0]?.uri;
    if (open === undefined) {
      return vscode.Uri.file(homedir());
    }
    const outer = this.projects.of(open);
    return outer === undefined ? open : vscode.Uri.file(dirname(outer.root));
  }

  /** Show the program's own log. */
  async openDaemonLog(): Promise<void> {
    const info = await this.daemon.ask(DaemonServiceService.getInfo, {});
    const log = vscode.Uri.file(info.logPath);
    this.output.debug(`the daemon's log lies in ${dirname(info.logPath)}`);
    await vscode.window.showTextDocument(log);
  }

  #say(mark: string, text: string): void {
    const line = `${mark}${text}`;
    if (mark.startsWith("FAILED")) {
      this.output.error(line);
    } else if (mark.startsWith("warning")) {
      this.output.warn(line);
    } else {
      this.output.info(line);
    }
  }
}
