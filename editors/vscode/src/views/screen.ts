// What a followed run looks like in a terminal: bytes of ranks and events in, text for a terminal out.
// Knows nothing of editors.

import {
  RunState,
  type OutputBlock,
  type Run,
  type RunEvent,
  type WatchRunResponse,
} from "../generated/pollinator/v1/run";
import { endWords, hasEnded, stateWord } from "../project/words";

const GREY = "90";
const RED = "31";
const GREEN = "32";
const YELLOW = "33";
const CONTROLS = /(?!\n)\p{Cc}/gu;
/** A line of several ranks that grows beyond this is shown in pieces. */
const LONGEST_LINE = 64 * 1024;
const LABELS = ["36", "35", "34", "33", "32", "96", "95", "94"];

const TOLD = new Map<RunState, string>([
  [RunState.RUN_STATE_QUEUED, "waits for its turn"],
  [RunState.RUN_STATE_STARTING, "files are laid out"],
]);

/** Text in a colour of the terminal's own. */
export function painted(text: string, colour: string): string {
  // Words of executors may hold anything; they are no commands for the terminal.
  return `\x1b[${colour}m${text.replace(CONTROLS, "")}\x1b[0m`;
}

/** Text that a rank prints, as a terminal wants it. */
class Rank {
  readonly #decoder = new TextDecoder();
  #line = "";

  constructor(private readonly label: string) {}

  /** What to show of this block; with labels, whole lines only. */
  take(data: Uint8Array): string {
    const text = this.#decoder.decode(data, { stream: true });
    if (this.label === "") {
      return text;
    }
    const lines = (this.#line + text).split("\n");
    // A carriage return begins the line anew, as progress bars do: only what is behind the last one is left.
    const last = lines.pop() ?? "";
    this.#line = last.slice(last.lastIndexOf("\r", last.length - 2) + 1);
    if (this.#line.length > LONGEST_LINE) {
      lines.push(this.#line);
      this.#line = "";
    }
    return lines.map((line) => `${this.label}${line}\n`).join("");
  }

  /** What is left when it prints no more. */
  rest(): string {
    const text = this.#line + this.#decoder.decode();
    this.#line = "";
    return text === "" ? "" : `${this.label}${text}`;
  }
}

/** One followed run. */
export class Screen {
  readonly #ranks = new Map<number, Rank>();
  #several = false;
  #atLineStart = true;
  #pending = "";

  /** `only` shows the output of one rank alone. */
  constructor(private readonly only?: number) {}

  /** What to write for a message. */
  take(message: WatchRunResponse): string {
    switch (message.kind?.$case) {
      case "run":
        this.#several = ranksOf(message.kind.value) > 1 && this.only === undefined;
        return "";
      case "event":
        return this.#event(message.kind.value);
      case "output":
        return this.#output(message.kind.value);
      default:
        return "";
    }
  }

  /** What to write when nothing more comes. */
  end(run: Run): string {
    const rests = [...this.#ranks.values()].map((rank) => rank.rest()).filter((text) => text !== "");
    const left = this.#shown(rests.join("\n"));
    if (!hasEnded(run)) {
      return left;
    }
    const colour = run.state === RunState.RUN_STATE_SUCCEEDED ? GREEN : RED;
    const why = endWords(run.outcome);
    const detail = run.outcome?.detail ?? "";
    const words = [why, detail === why ? "" : detail].filter((each) => each !== "").join(": ");
    return left + this.line(painted(`${stateWord(run.state)}${words === "" ? "" : `  ${words}`}`, colour));
  }

  /** A line of our own between those of the run. */
  line(text: string): string {
    const start = this.#atLineStart ? "" : "\r\n";
    this.#atLineStart = true;
    return `${start}${text.replaceAll("\n", "\r\n")}\r\n`;
  }

  #event(event: RunEvent): string {
    switch (event.kind?.$case) {
      case "stateChanged": {
        const words = TOLD.get(event.kind.value.state);
        return words === undefined ? "" : this.line(painted(words, GREY));
      }
      case "pending": {
        const { text, action } = event.kind.value;
        const words = action === "" ? text : `${text} (${action})`;
        if (words === this.#pending || words === "") {
          return "";
        }
        this.#pending = words;
        return this.line(painted(words, YELLOW));
      }
      case "nodesAssigned":
        return this.line(painted(`runs on ${event.kind.value.nodes.join(", ")}`, GREY));
      case "cancelRequested":
        return this.line(painted(`cancelled by ${event.kind.value.by}`, YELLOW));
      case "notice":
        return this.line(painted(event.kind.value.text, YELLOW));
      case "reachability": {
        const since = event.kind.value.unreachableSince;
        const words =
          since === undefined ? "the executor is back" : "no word from the executor; the run goes on";
        return this.line(painted(words, YELLOW));
      }
      default:
        return "";
    }
  }

  #output(block: OutputBlock): string {
    if (this.only !== undefined && block.rank !== this.only) {
      return "";
    }
    let rank = this.#ranks.get(block.rank);
    if (rank === undefined) {
      const colour = LABELS[block.rank % LABELS.length] ?? GREY;
      rank = new Rank(this.#several ? painted(`${block.rank}| `, colour) : "");
      this.#ranks.set(block.rank, rank);
    }
    return this.#shown(rank.take(block.data));
  }

  #shown(text: string): string {
    if (text !== "") {
      this.#atLineStart = text.endsWith("\n");
    }
    return text.replace(/\r?\n/g, "\r\n");
  }
}

/** How many ranks a run has. */
export function ranksOf(run: Run): number {
  return Math.max(1, run.spec?.nodes ?? 1) * Math.max(1, run.spec?.processesPerNode ?? 1);
}
