// The view in which a run is followed: a terminal of our own. Ctrl-C lets go of the run, which goes on.

import * as vscode from "vscode";
import type { Daemon } from "../daemon/connection";
import { toDaemonError, type DaemonError } from "../daemon/errors";
import { followRun } from "../daemon/following";
import { RunState, type Run } from "../generated/pollinator/v1/run";
import { hasEnded, whenText } from "../project/words";
import { Screen, painted } from "./screen";

/** Exit code of a task whose run was let go of: that of commands that Ctrl-C ended. */
const INTERRUPTED = 130;
const AWAY_MS = 10_000;
const INTERRUPT = "\x03";
const GREY = "90";
const RED = "31";

/** What a followed run may ask for; the run itself comes when it has been started. */
export interface Followed {
  /** The run, or the start of one. */
  readonly run: Promise<Run>;
  /** Where the run is, for a terminal that takes the place of one whose run has ended. */
  readonly root?: string;
  /** At most so many lines of what was printed before; all where it is not given. */
  readonly tailLines?: number;
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
  #away: NodeJS.Timeout | undefined;
  #saidAway = false;
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

  /** Its run has ended, or was let go of. */
  get isOver(): boolean {
    return this.#over;
  }

  close(): void {
    clearTimeout(this.#away);
    this.#over = true;
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
    this.#say(painted("Detached; the run goes on.", GREY));
    this.#say(painted("  come back:  Pollinator: Show Output", GREY));
    this.#say(painted("  end it:     Pollinator: Cancel Run", GREY));
    this.#end("Enter closes this terminal.", INTERRUPTED);
  }

  async #follow(): Promise<void> {
    try {
      const run = await this.followed.run;
      if (this.#over) {
        return;
      }
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
    const from = { runId: run.id, output: true, follow: true, tailLines: this.followed.tailLines ?? 0 };
    const onCut = (error: DaemonError | undefined): void => {
      this.#tellCut(error);
    };
    for await (const message of followRun(this.daemon, from, this.#stop.signal, onCut)) {
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

  /** Once for each time that it is away longer than a restart takes. */
  #tellCut(error: DaemonError | undefined): void {
    clearTimeout(this.#away);
    this.#away = undefined;
    if (error !== undefined && !this.#saidAway) {
      this.#away = setTimeout(() => {
        this.#saidAway = true;
        this.#say(painted("no word from the daemon; the run goes on", GREY));
      }, AWAY_MS);
    } else if (error === undefined && this.#saidAway) {
      this.#saidAway = false;
      this.#say(painted("the daemon answers again", GREY));
    }
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

/** Terminals that were opened here: one whose run has ended makes room for the next of its project. */
const shown = new Set<{ key: string; pty: FollowTerminal; terminal: vscode.Terminal }>();

/** Show a run in a terminal. */
export function showFollow(daemon: Daemon, followed: Followed, reveal: boolean): void {
  const key = followed.root ?? "";
  for (const each of [...shown].filter((one) => one.key === key && one.pty.isOver)) {
    each.terminal.dispose();
    shown.delete(each);
  }
  const pty = new FollowTerminal(daemon, followed, false);
  const terminal = vscode.window.createTerminal({
    name: "Pollinator",
    pty,
    iconPath: new vscode.ThemeIcon("play-circle"),
  });
  shown.add({ key, pty, terminal });
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
