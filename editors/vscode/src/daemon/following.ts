// Following a run without gap or repeat: where to go on after a cut. Knows nothing of editors.

import type { DeepPartial, WatchRunRequest, WatchRunResponse } from "../generated/pollinator/v1/run";
import { RunServiceService, WatchRunRequest as Requests } from "../generated/pollinator/v1/run";
import type { Daemon } from "./connection";
import type { DaemonError } from "./errors";

/** How far a follower is. */
export class Position {
  #seq: number;
  #tail: number;
  readonly #offsets = new Map<number, number>();

  constructor(private readonly from: DeepPartial<WatchRunRequest>) {
    this.#seq = from.afterSeq ?? 0;
    this.#tail = from.tailLines ?? 0;
  }

  /** What to ask for now. */
  request(): WatchRunRequest {
    const offsets = [...this.#offsets].map(([rank, offset]) => ({ rank, offset }));
    return Requests.fromPartial({ ...this.from, afterSeq: this.#seq, tailLines: this.#tail, offsets });
  }

  /** A message has come. */
  note(message: WatchRunResponse): void {
    switch (message.kind?.$case) {
      case "event":
        this.#seq = message.kind.value.seq;
        break;
      case "output":
        this.#offsets.set(
          message.kind.value.rank,
          message.kind.value.offset + message.kind.value.data.length,
        );
        break;
      case "heartbeat":
        // All that was there has come: of a rank that is silent so far, nothing may be left out.
        this.#tail = 0;
        break;
      default:
    }
  }
}

/** The messages of a run; it ends after the last one of a run that has ended. */
export async function* followRun(
  daemon: Daemon,
  from: DeepPartial<WatchRunRequest>,
  signal: AbortSignal,
  onCut?: (error: DaemonError | undefined) => void,
): AsyncGenerator<WatchRunResponse, void, undefined> {
  const position = new Position(from);
  const next = (): WatchRunRequest => position.request();
  for await (const message of daemon.stream(RunServiceService.watchRun, next, signal, onCut)) {
    position.note(message);
    yield message;
  }
}
