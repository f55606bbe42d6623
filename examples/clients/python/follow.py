"""Run a project and follow it: what it prints goes to stdout. The daemon may be killed meanwhile."""

import sys
import time
import uuid

import grpc

from pollinator.v1 import run_pb2, run_pb2_grpc
from pollinator.wire.places import daemon_socket

runs = run_pb2_grpc.RunServiceStub(grpc.insecure_channel(f"unix:{daemon_socket()}"))
start = run_pb2.StartRunRequest(request_id=str(uuid.uuid4()), project=run_pb2.ProjectSource(root=sys.argv[1]))
seq, offsets, ended, told = 0, dict[int, int](), False, ""
while not ended:
    try:
        run = runs.StartRun(start, timeout=3600, wait_for_ready=True).run  # the same run at every repeat
        from_here = [run_pb2.OutputOffset(rank=rank, offset=at) for rank, at in offsets.items()]
        watch = run_pb2.WatchRunRequest(
            run_id=run.id, output=True, follow=True, after_seq=seq, offsets=from_here
        )
        for message in runs.WatchRun(watch):
            if message.HasField("output"):
                sys.stdout.buffer.write(message.output.data)
                sys.stdout.buffer.flush()
                offsets[message.output.rank] = message.output.offset + len(message.output.data)
            elif message.HasField("event"):
                seq = message.event.seq
        ended = True
    except grpc.RpcError as cut:
        if cut.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        if cut.details() != told:
            print(told := cut.details(), file=sys.stderr)
        time.sleep(0.2)
run = runs.GetRun(run_pb2.GetRunRequest(run_id=run.id), timeout=30).run
print(run_pb2.RunState.Name(run.state), file=sys.stderr)
sys.exit(0 if run.state == run_pb2.RUN_STATE_SUCCEEDED else run.outcome.exit_code or 1)
