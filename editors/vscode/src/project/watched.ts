// What is known of one project: its state and its runs, kept true by one stream of the daemon.

import { EventEmitter } from "vscode";
import {
  OpenProjectRequest,
  ProjectServiceService,
  WatchProjectRequest,
  type Project,
  type WatchProjectResponse,
} from "../generated/pollinator/v1/project";
import type { Run } from "../generated/pollinator/v1/run";
import type { Daemon } from "../daemon/connection";
import { DaemonError, toDaemonError } from "../daemon/errors";
import { hasEnded } from "./words";

const RETRY_MS = 5_000;

/** A run that was told for the first time or has changed. */
export interface RunChange {
  readonly run: Run;
  readonly before: Run | undefined;
  /** It was known when this editor came; what has happened to it is no news. */
  readonly old: boolean;
}

export class WatchedProject {
  /** As the daemon sees it; undefined until it has been heard. */
  state: Project | undefined;
  /** Why there is no word from the daemon now. */
  problem: DaemonError | undefined;

  readonly #runs = new Map<string, Run>();
  readonly #stop = new AbortController();
  readonly #changed = new EventEmitter<void>();
  readonly #runChanged = new EventEmitter<RunChange>();
  #cursor = "";
  #heard = false;

  /** Anything has changed. */
  readonly onChanged = this.#changed.event;
  /** A run is new or has changed. */
  readonly onRunChanged = this.#runChanged.event;

  constructor(
    /** Its folder, as this window has it. */
    readonly root: string,
    /** The same without links, as the command line names it to the daemon. */
    readonly folder: string,
    private readonly daemon: Daemon,
    private readonly limit: number,
  ) {
    void this.#watch();
  }

  /** Its runs, newest first. */
  get runs(): Run[] {
    return [...this.#runs.values()].sort((one, other) => (one.id < other.id ? 1 : -1));
  }

  run(id: string): Run | undefined {
    return this.#runs.get(id);
  }

  /** What a call has answered, which the stream will tell as well. */
  take(run: Run): void {
    const known = this.#runs.get(run.id);
    if (known === undefined || known.lastSeq < run.lastSeq) {
      this.#set(run, false);
      this.#changed.fire();
    }
  }

  dispose(): void {
    this.#stop.abort();
    this.#changed.dispose();
    this.#runChanged.dispose();
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.daemon.ask(
          ProjectServiceService.openProject,
          OpenProjectRequest.fromPartial({ root: this.folder }),
        );
        await this.#listen(signal);
      } catch (thrown) {
        this.#tell(toDaemonError(thrown));
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const next = (): WatchProjectRequest =>
      WatchProjectRequest.fromPartial({
        root: this.folder,
        runs: true,
        cursor: this.#cursor,
        limit: this.limit,
      });
    const onCut = (error: DaemonError | undefined): void => {
      this.#tell(error);
    };
    for await (const message of this.daemon.stream(ProjectServiceService.watchProject, next, signal, onCut)) {
      this.#take(message);
    }
  }

  #take(message: WatchProjectResponse): void {
    this.problem = undefined;
    this.state = message.project ?? this.state;
    this.#cursor = message.cursor;
    if (message.complete) {
      const told = new Set(message.runs.map((run) => run.id));
      for (const id of this.#runs.keys()) {
        if (!told.has(id)) {
          this.#runs.delete(id);
        }
      }
    }
    for (const id of message.forgottenRuns) {
      this.#runs.delete(id);
    }
    for (const run of message.runs) {
      this.#set(run, !this.#heard);
    }
    for (const run of this.runs.slice(this.limit).filter(hasEnded)) {
      this.#runs.delete(run.id);
    }
    this.#heard = true;
    this.#changed.fire();
  }

  #set(run: Run, old: boolean): void {
    const before = this.#runs.get(run.id);
    if (before !== undefined && before.lastSeq > run.lastSeq) {
      return;
    }
    this.#runs.set(run.id, run);
    // The same end is told once, whoever tells it.
    if (before === undefined || !hasEnded(before) || before.lastSeq < run.lastSeq) {
      this.#runChanged.fire({ run, before, old });
    }
  }

  #tell(problem: DaemonError | undefined): void {
    if (!this.#stop.signal.aborted) {
      this.problem = problem;
      this.#changed.fire();
    }
  }
}
