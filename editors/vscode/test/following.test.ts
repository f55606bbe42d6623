// Where a follower goes on after a cut.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Position } from "../src/daemon/following";
import { WatchRunResponse, type DeepPartial } from "../src/generated/pollinator/v1/run";

test("a follower goes on behind the last event and the last byte of each rank", () => {
  const position = new Position({ runId: "r", output: true, follow: true });
  const told: DeepPartial<WatchRunResponse>[] = [
    { kind: { $case: "event", value: { seq: 7 } } },
    { kind: { $case: "output", value: { rank: 1, offset: 10, data: Buffer.from("abc") } } },
    { kind: { $case: "output", value: { rank: 0, offset: 0, data: Buffer.from("é") } } },
  ];
  for (const each of told) {
    position.note(WatchRunResponse.fromPartial(each));
  }

  const request = position.request();

  assert.equal(request.afterSeq, 7);
  assert.equal(request.runId, "r");
  assert.deepEqual(request.offsets, [
    { rank: 1, offset: 13 },
    { rank: 0, offset: 2 },
  ]);
});

test("only before all has been heard may the beginning be left out", () => {
  const position = new Position({ runId: "r", tailLines: 100 });
  assert.equal(position.request().tailLines, 100);

  position.note(WatchRunResponse.fromPartial({ kind: { $case: "heartbeat", value: {} } }));

  assert.equal(position.request().tailLines, 0);
});
