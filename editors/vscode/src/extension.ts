// What the editor starts: makes the parts and connects them. Nothing else knows all of them.

import * as vscode from "vscode";
import { AboutCommands } from "./commands/about";
import { CompareCommands } from "./commands/compare";
import { RunCommands } from "./commands/runs";
import { Dismissed, NO_PROJECT, Targets, type Argument } from "./commands/targets";
import { Daemon, type Wishes } from "./daemon/connection";
import { NOT_INSTALLED } from "./daemon/program";
import { DaemonError, toDaemonError } from "./daemon/errors";
import { RunFiles } from "./documents/files";
import { RunFileSystem } from "./documents/provider";
import { SETTINGS, SETTINGS_SCHEME } from "./documents/settings";
import { SCHEME } from "./documents/uris";
import { Problems } from "./problems";
import { Projects } from "./project/projects";
import { Results } from "./results";
import { RunTasks, TASK_TYPE } from "./tasks";
import { RunLenses } from "./views/lenses";
import { StatusBar } from "./views/status";
import { Steps } from "./views/steps";
import { TABLE, TableView } from "./views/table";
import { RunTree } from "./views/tree";

const NOT_TRUSTED = "not_trusted";
/** What a message offers to do about an error: the words of the button, the command, and what it is given. */
const REMEDIES: ReadonlyMap<string, readonly string[]> = new Map([
  [NOT_INSTALLED, ["Open Settings", "workbench.action.openSettings", "pollinator.program"]],
  [NOT_TRUSTED, ["Manage Workspace Trust", "workbench.trust.manage"]],
  [NO_PROJECT, ["New Project…", "pollinator.newProject"]],
]);

type Disposes = vscode.ExtensionContext["subscriptions"][number];
type Command = (argument?: Argument) => Promise<void>;

export function activate(context: vscode.ExtensionContext): void {
  const output = vscode.window.createOutputChannel("Pollinator", { log: true });
  const log = (line: string): void => {
    output.info(line);
  };
  const daemon = new Daemon(wishes, log);
  const projects = new Projects(daemon);
  const files = new RunFiles(daemon);
  const runs = new RunCommands(daemon, projects, new Targets(projects));
  const compare = new CompareCommands(daemon, projects, new Targets(projects));
  const about = new AboutCommands(daemon, projects, wishes, output);
  const commands = commandsOf(runs, compare, about);
  for (const [name, command] of Object.entries(commands)) {
    context.subscriptions.push(
      vscode.commands.registerCommand(`pollinator.${name}`, guarded(command, output)),
    );
  }
  context.subscriptions.push(
    output,
    daemon,
    projects,
    ...viewsOf(projects, files),
    new Problems(daemon, projects, log),
    new Results(files, projects, log),
    vscode.workspace.registerFileSystemProvider(SCHEME, new RunFileSystem(files), { isReadonly: true }),
    vscode.workspace.registerTextDocumentContentProvider(SETTINGS_SCHEME, SETTINGS),
    vscode.tasks.registerTaskProvider(TASK_TYPE, new RunTasks(daemon, projects, runs)),
    vscode.workspace.onDidGrantWorkspaceTrust(() => {
      void projects.find();
    }),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("pollinator.program")) {
        daemon.reset();
      }
    }),
  );
  sayOnceWhatIsMissing(projects, output);
  // Not waited for: in large folders it takes long, and whoever wants to know waits by themselves.
  void projects.find();
}

const wishes: Wishes = {
  program: () => vscode.workspace.getConfiguration("pollinator").get("program", "pollinator"),
  mayStart: () =>
    vscode.workspace.isTrusted &&
    vscode.workspace.getConfiguration("pollinator").get<boolean>("startDaemon", true),
};

function viewsOf(projects: Projects, files: RunFiles): Disposes[] {
  const tree = new RunTree(projects, files);
  const lenses = new RunLenses(projects);
  const view = vscode.window.createTreeView("pollinator.runs", {
    treeDataProvider: tree,
    showCollapseAll: true,
  });
  new Steps(projects, view);
  return [
    tree,
    lenses,
    new StatusBar(projects),
    view,
    vscode.languages.registerCodeLensProvider({ scheme: "file" }, lenses),
    vscode.window.registerCustomEditorProvider(TABLE, new TableView()),
  ];
}

function commandsOf(
  runs: RunCommands,
  compare: CompareCommands,
  about: AboutCommands,
): Readonly<Record<string, Command>> {
  return {
    run: (argument) => runs.run(argument),
    runFollow: (argument) => runs.runFollow(argument),
    runOn: (argument) => runs.runOn(argument),
    cancel: (argument) => runs.cancel(argument),
    rerun: (argument) => runs.rerun(argument),
    openLogs: (argument) => runs.openLogs(argument),
    diffRuns: (argument) => compare.diffRuns(argument),
    pullResults: (argument) => compare.pullResults(argument),
    doctor: () => about.doctor(),
    newProject: () => about.newProject(),
    openDaemonLog: () => about.openDaemonLog(),
  };
}

/** Without the program nothing works: that is said without being asked, but not again and again. */
function sayOnceWhatIsMissing(projects: Projects, output: vscode.LogOutputChannel): void {
  let said = false;
  projects.onChanged(() => {
    const problem = projects.all.find((each) => each.problem?.reason === NOT_INSTALLED)?.problem;
    if (problem !== undefined && !said) {
      said = true;
      void tell(problem, output);
    }
  });
}

/** A command whose errors the user sees, with what to do. */
function guarded(command: Command, output: vscode.LogOutputChannel): Command {
  return async (argument) => {
    try {
      if (!vscode.workspace.isTrusted) {
        throw new DaemonError("Nothing is sent to the daemon before you trust this workspace", NOT_TRUSTED);
      }
      await command(argument);
    } catch (thrown) {
      if (!(thrown instanceof Dismissed)) {
        const error = toDaemonError(thrown);
        output[error.reason === NOT_TRUSTED ? "warn" : "error"](error.text);
        await tell(error, output);
      }
    }
  };
}

/** Lines as sentences of a message, which says whose it is. */
function inSentences(text: string): string {
  const said = text.split("\n").map((line) => (/[.!?:]$/.test(line) ? line : `${line}.`));
  return text.startsWith("Pollinator") ? said.join(" ") : `Pollinator: ${said.join(" ")}`;
}

async function tell(error: DaemonError, output: vscode.LogOutputChannel): Promise<void> {
  const [first, ...command] = REMEDIES.get(error.reason) ?? [];
  const more = "Show Log";
  const offered = first === undefined ? [more] : [first, more];
  const show =
    error.reason === NOT_TRUSTED ? vscode.window.showWarningMessage : vscode.window.showErrorMessage;
  const picked = await show(inSentences(error.text), ...offered);
  if (picked === more) {
    output.show();
  } else if (picked !== undefined) {
    const [name = "", ...given] = command;
    await vscode.commands.executeCommand(name, ...given);
  }
}
