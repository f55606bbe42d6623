// Run a project and follow it: what it prints goes to stdout. The daemon may be killed meanwhile.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";

const proto = fileURLToPath(new URL("../../../proto", import.meta.url));
const definition = await load("pollinator/v1/run.proto", { includeDirs: [proto], keepCase: true, longs: Number, enums: String, oneofs: true });
const { pollinator } = grpc.loadPackageDefinition(definition) as any;
const runs = new pollinator.v1.RunService(`unix:${process.argv[3]}`, grpc.credentials.createInsecure());
const call = (name: string, request: object): Promise<any> =>
  new Promise((done, fail) => runs[name](request, (error: grpc.ServiceError | null, answer: object) => (error ? fail(error) : done(answer))));

const start = { request_id: randomUUID(), project: { root: process.argv[2] } };
const offsets = new Map<number, number>();
let [after_seq, told, run] = [0, "", undefined as any];
for (let ended = false; !ended; ) {
  try {
    ({ run } = await call("StartRun", start)); // the same run at every repeat
    const from = [...offsets].map(([rank, offset]) => ({ rank, offset }));
    for await (const message of runs.WatchRun({ run_id: run.id, output: true, follow: true, after_seq, offsets: from })) {
      if (message.output) {
        process.stdout.write(message.output.data);
        offsets.set(message.output.rank, message.output.offset + message.output.data.length);
      } else if (message.event) after_seq = message.event.seq;
    }
    ended = true;
  } catch (cut) {
    if ((cut as grpc.ServiceError).code !== grpc.status.UNAVAILABLE) throw cut;
    const { details } = cut as grpc.ServiceError;
    if (details !== told) console.error((told = details));
    await pause(200);
  }
}
({ run } = await call("GetRun", { run_id: run.id }));
console.error(run.state);
process.exitCode = run.state === "RUN_STATE_SUCCEEDED" ? 0 : run.outcome?.exit_code || 1;
runs.close();
