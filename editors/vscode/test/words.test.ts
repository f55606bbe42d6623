// What one line says of a run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Run, RunState } from "../src/generated/pollinator/v1/run";
import { runWords } from "../src/project/words";

const START = new Date("2026-11-27T03:00:00Z");

test("the line of a run that goes on changes seldom, and says roughly for how long", () => {
  const run = Run.fromPartial({ state: RunState.RUN_STATE_RUNNING, startTime: START, executor: "lumi" });
  const after = (seconds: number): string => runWords(run, START.getTime() + seconds * 1000);

  assert.equal(after(9), "RUNNING · lumi");
  assert.equal(after(10), "RUNNING · 10 s · lumi");
  assert.equal(after(19), after(10));
  assert.equal(after(60), "RUNNING · 1 min · lumi");
  assert.equal(after(119), after(60));
  assert.equal(after(7_800), "RUNNING · 2h10m · lumi");
});

test("the line of a run that has ended says how long it ran", () => {
  const endTime = new Date(START.getTime() + 3_200);
  const run = Run.fromPartial({ state: RunState.RUN_STATE_SUCCEEDED, startTime: START, endTime });

  assert.equal(runWords(run), "SUCCEEDED · 3.2 s");
});
