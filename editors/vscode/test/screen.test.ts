// What a followed run looks like.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeReason, Run, RunState, WatchRunResponse } from "../src/generated/pollinator/v1/run";
import { Screen } from "../src/views/screen";

const COLOURS = /\x1b\[\d+m/g;

function output(rank: number, data: string | Buffer): WatchRunResponse {
  return WatchRunResponse.fromPartial({
    kind: { $case: "output", value: { rank, data: Buffer.from(data) } },
  });
}

function begun(nodes: number): WatchRunResponse {
  return WatchRunResponse.fromPartial({
    kind: { $case: "run", value: { spec: { nodes, processesPerNode: 1 } } },
  });
}

test("a character that comes in two blocks is one character", () => {
  const screen = new Screen();
  const [first, second] = [Buffer.from("é").subarray(0, 1), Buffer.from("é").subarray(1)];

  assert.equal(screen.take(output(0, first)) + screen.take(output(0, second)), "é");
});

test("lines of several ranks are whole, and say whose they are", () => {
  const screen = new Screen();
  screen.take(begun(2));
  const said = [output(0, "one "), output(1, "two\n"), output(0, "three\n")].map((each) => screen.take(each));

  assert.equal(said.join("").replace(COLOURS, ""), "1| two\r\n0| one three\r\n");
});

test("the end begins on a line of its own and says why", () => {
  const screen = new Screen();
  screen.take(output(0, "no line end"));
  const outcome = { reason: OutcomeReason.OUTCOME_REASON_EXIT_CODE, exitCode: 3, detail: "rank 0 ended" };

  const said = screen.end(Run.fromPartial({ state: RunState.RUN_STATE_FAILED, outcome }));

  assert.equal(said.replace(COLOURS, ""), "\r\nFAILED  exit code 3: rank 0 ended\r\n");
});
