// States, times and sizes in plain words, and which picture stands for them. Knows nothing of editors.

import { OutcomeReason, RunState, type Outcome, type Run } from "../generated/pollinator/v1/run";

const STATES: Readonly<Record<number, readonly [word: string, icon: string, colour: string]>> = {
  [RunState.RUN_STATE_ACCEPTED]: ["ACCEPTED", "circle-large-outline", ""],
  [RunState.RUN_STATE_SNAPSHOTTING]: ["SNAPSHOTTING", "loading~spin", ""],
  [RunState.RUN_STATE_LAUNCHING]: ["LAUNCHING", "loading~spin", ""],
  [RunState.RUN_STATE_QUEUED]: ["QUEUED", "watch", "charts.yellow"],
  [RunState.RUN_STATE_STARTING]: ["STARTING", "loading~spin", "charts.blue"],
  [RunState.RUN_STATE_RUNNING]: ["RUNNING", "sync~spin", "charts.blue"],
  [RunState.RUN_STATE_COLLECTING]: ["COLLECTING", "loading~spin", "charts.blue"],
  [RunState.RUN_STATE_SUCCEEDED]: ["SUCCEEDED", "pass-filled", "testing.iconPassed"],
  [RunState.RUN_STATE_FAILED]: ["FAILED", "error", "testing.iconFailed"],
  [RunState.RUN_STATE_CANCELLED]: ["CANCELLED", "circle-slash", "disabledForeground"],
  [RunState.RUN_STATE_LOST]: ["LOST", "question", "testing.iconErrored"],
};

const ENDS: readonly RunState[] = [
  RunState.RUN_STATE_SUCCEEDED,
  RunState.RUN_STATE_FAILED,
  RunState.RUN_STATE_CANCELLED,
  RunState.RUN_STATE_LOST,
];

const REASONS: Readonly<Record<number, string>> = {
  [OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY]: "out of memory",
  [OutcomeReason.OUTCOME_REASON_TIME_LIMIT]: "time limit",
  [OutcomeReason.OUTCOME_REASON_NODE_FAILED]: "node failed",
  [OutcomeReason.OUTCOME_REASON_PREEMPTED]: "preempted",
  [OutcomeReason.OUTCOME_REASON_IMAGE]: "image",
  [OutcomeReason.OUTCOME_REASON_MATERIALISE]: "files could not be laid out",
  [OutcomeReason.OUTCOME_REASON_SNAPSHOT]: "files could not be sealed",
  [OutcomeReason.OUTCOME_REASON_LAUNCH]: "could not be launched",
  [OutcomeReason.OUTCOME_REASON_COLLECT]: "results could not be brought home",
  [OutcomeReason.OUTCOME_REASON_BACKEND]: "executor",
};

/** The word for a state, as in all of Pollinator. */
export function stateWord(state: RunState): string {
  return STATES[state]?.[0] ?? "UNKNOWN";
}

/** Name of the icon for a state, and of its colour or an empty string. */
export function stateIcon(state: RunState): readonly [icon: string, colour: string] {
  const [, icon, colour] = STATES[state] ?? ["", "question", ""];
  return [icon, colour];
}

/** The run has ended. */
export function hasEnded(run: Run): boolean {
  return ENDS.includes(run.state);
}

/** Waits for its turn, or is on its way there. */
export function isWaiting(run: Run): boolean {
  return !hasEnded(run) && run.state < RunState.RUN_STATE_STARTING;
}

/** Why it ended so, in few words; empty for one that succeeded or has not ended. */
export function endWords(outcome: Outcome | undefined): string {
  if (outcome === undefined) {
    return "";
  }
  switch (outcome.reason) {
    case OutcomeReason.OUTCOME_REASON_UNSPECIFIED:
      return "";
    case OutcomeReason.OUTCOME_REASON_EXIT_CODE:
      return `exit code ${outcome.exitCode}`;
    case OutcomeReason.OUTCOME_REASON_SIGNAL:
      return `signal ${outcome.signal}`;
    default:
      return REASONS[outcome.reason] ?? outcome.detail;
  }
}

/** `0.4 s`, `12 s`, `3m05s`, `2h10m`, `4d03h`. */
export function durationText(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds / 1000);
  const whole = Math.floor(seconds);
  const two = (count: number): string => String(count).padStart(2, "0");
  if (seconds < 10) {
    return `${seconds.toFixed(1)} s`;
  }
  if (whole < 60) {
    return `${whole} s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  }
  if (whole < 86400) {
    return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
  }
  return `${Math.floor(whole / 86400)}d${two(Math.floor((whole % 86400) / 3600))}h`;
}

/** `12.3 MiB`. */
export function bytesText(count: number): string {
  let size = count;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) {
      return unit === "B" ? `${count} B` : `${size.toFixed(1)} ${unit}`;
    }
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

/** `1 file`, `2 files`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** When something was, as short as it is clear: the time of a day, with the day unless it is today. */
export function whenText(time: Date | undefined, now = new Date()): string {
  if (time === undefined) {
    return "";
  }
  const two = (count: number): string => String(count).padStart(2, "0");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  // Short: in the tree, what comes behind it would be cut off.
  const day = time.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return time.toDateString() === now.toDateString() ? clock : `${day} ${clock.slice(0, -3)}`;
}

/** How long it ran or runs; empty before its ranks started. */
export function ranFor(run: Run, now = Date.now()): string {
  return run.startTime === undefined
    ? ""
    : durationText((run.endTime?.getTime() ?? now) - run.startTime.getTime());
}

/** How long it ran, or roughly for how long it runs: a row that is made anew loses what is open over it. */
function about(run: Run, now: number): string {
  const milliseconds = run.startTime === undefined ? 0 : now - run.startTime.getTime();
  if (hasEnded(run) || milliseconds >= 3_600_000) {
    return ranFor(run, now);
  }
  const tens = Math.floor(milliseconds / 10_000) * 10;
  return milliseconds < 10_000 ? "" : tens < 60 ? `${tens} s` : `${Math.floor(tens / 60)} min`;
}

/** All that one line says of a run, but for when it was. */
export function runWords(run: Run, now = Date.now()): string {
  const words = [stateWord(run.state), endWords(run.outcome), about(run, now), run.executor];
  return words.filter((each) => each !== "").join(" · ");
}

/** An id as short as people need it: ids begin with the time, so what differs is at the end. */
export function shortId(id: string): string {
  return id.slice(-6);
}
