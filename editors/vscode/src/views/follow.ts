// The view in which a run is followed: a terminal of our own. Ctrl-C lets go of the run, which goes on.

import * as vscode from "vscode";
import type { Daemon } from "../daemon/connection";
import { toDaemonError } from "../daemon/errors";
import { followRun } from "../daemon/following";
import { RunState, type Run } from "../generated/pollinator/v1/run";
import { hasEnded, whenText } from "../project/words";
import { Screen, painted } from "./screen";

const INTERRUPT = "\x03";
const GREY = "90";
const RED = "31";

/** What a followed run may ask for; the run itself comes when it has been started. */
export interface Followed {
  /** The run, or the start of one. */
  readonly run: Promise<Run>;
  /** Only what this rank printed. */
  readonly rank?: number;
  /** Start it again. */
  again?(): void;
}

export class FollowTerminal implements vscode.Pseudoterminal {
  readonly #write = new vscode.EventEmitter<string>();
  readonly #close = new vscode.EventEmitter<number>();
  readonly #name = new vscode.EventEmitter<string>();
  readonly #stop = new AbortController();
  readonly #screen: Screen;
  #over = false;
  #code = 0;

  readonly onDidWrite = this.#write.event;
  readonly onDidClose = this.#close.event;
  readonly onDidChangeName = this.#name.event;

  constructor(
    private readonly daemon: Daemon,
    private readonly followed: Followed,
    /** A task ends with its run; a terminal stays so that its output can be read. */
    private readonly closesAtEnd: boolean,
  ) {
    this.#screen = new Screen(followed.rank);
  }

  open(): void {
    void this.#follow();
  }

  close(): void {
    this.#stop.abort();
  }

  handleInput(typed: string): void {
    if (!this.#over && typed === INTERRUPT) {
      this.#detach();
    } else if (this.#over && (typed === INTERRUPT || typed === "\r" || typed === "q")) {
      this.#close.fire(this.#code);
    } else if (this.#over && typed === "r") {
      this.followed.again?.();
    }
  }

  #detach(): void {
    this.#stop.abort();
    this.#end("Detached; the run goes on. Enter closes this terminal.", 0);
  }

  async #follow(): Promise<void> {
    try {
      const run = await this.followed.run;
      this.#name.fire(titleOf(run));
      this.#say(painted(`Run ${run.id} on ${run.executor}. Ctrl-C detaches.`, GREY));
      const last = await this.#show(run);
      if (!this.#stop.signal.aborted) {
        this.#write.fire(this.#screen.end(last));
        this.#name.fire(titleOf(last));
        const again = this.followed.again === undefined ? "" : "r runs again, ";
        this.#end(hasEnded(last) ? `${again}Enter closes this terminal.` : "", exitCode(last));
      }
    } catch (thrown) {
      this.#say(painted(toDaemonError(thrown).text, RED));
      this.#end("Enter closes this terminal.", 1);
    }
  }

  /** The run as it is at the end. */
  async #show(run: Run): Promise<Run> {
    let last = run;
    const from = { runId: run.id, output: true, follow: true };
    for await (const message of followRun(this.daemon, from, this.#stop.signal)) {
      if (message.kind?.$case === "run") {
        last = message.kind.value;
      } else if (message.kind?.$case === "event" && message.kind.value.kind?.$case === "stateChanged") {
        const { state, outcome } = message.kind.value.kind.value;
        last = { ...last, state, outcome };
      }
      const text = this.#screen.take(message);
      if (text !== "") {
        this.#write.fire(text);
      }
    }
    return last;
  }

  #say(text: string): void {
    this.#write.fire(this.#screen.line(text));
  }

  #end(words: string, code: number): void {
    this.#over = true;
    this.#code = code;
    if (this.closesAtEnd) {
      this.#close.fire(code);
    } else {
      this.#say(painted(words, GREY));
    }
  }
}

/** Show a run in a terminal. */
export function showFollow(daemon: Daemon, followed: Followed, reveal: boolean): void {
  const terminal = vscode.window.createTerminal({
    name: "Pollinator",
    pty: new FollowTerminal(daemon, followed, false),
    iconPath: new vscode.ThemeIcon("play-circle"),
  });
  if (reveal) {
    terminal.show(true);
  }
}

function titleOf(run: Run): string {
  const mark = new Map([
    [RunState.RUN_STATE_SUCCEEDED, "✓ "],
    [RunState.RUN_STATE_FAILED, "✗ "],
    [RunState.RUN_STATE_LOST, "✗ "],
  ]);
  return `${mark.get(run.state) ?? ""}${whenText(run.acceptTime)} ${run.project}`;
}

function exitCode(run: Run): number {
  if (run.state === RunState.RUN_STATE_SUCCEEDED) {
    return 0;
  }
  const code = run.outcome?.exitCode ?? 0;
  return code === 0 ? 1 : code;
}
