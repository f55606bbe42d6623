"""One task of a job: finds its place in Slurm's variables, and runs its rank under the usual supervision.

``python -m pollinator.executors.slurm.rank``, started by srun. What to run comes through stdin, and after it
the words of the supervisor in the job: srun brings them to every task at once, whether or not the controller
or the file system answers. A task leaves a record, and ends with its rank's exit code. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pollinator.executors.cgroups import given_group
from pollinator.executors.memory import MemoryGuard, SamplingGuard
from pollinator.executors.records import Record, write_json
from pollinator.executors.supervise import Supervision, prepare_process

STOPPED = "stopped"
"""Why a rank ended whose end was decided elsewhere."""
BLOCK = 1 << 16
INSIDE = (
    "SLURM_",
    "SLURMD_",
    "PMI_",
    "PMI2_",
    "PMIX_",
    "CUDA_",
    "NVIDIA_",
    "ROCR_",
    "HIP_",
    "ZE_",
    "GPU_DEVICE_",
)
"""Variables of a task that its rank sees in an image as well."""


class Channel:
    """Lines of JSON from the supervisor in the job. Its end means that the supervisor is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self.closed = False

    def first(self) -> dict[str, Any]:
        """Wait for the first line.

        Raises:
            EOFError: there is none.
        """
        while b"\n" not in self._rest:
            self._read()
            if self.closed:
                raise EOFError("the supervisor of the job has said nothing")
        os.set_blocking(self._descriptor, False)
        return self.lines(1)[0]

    def lines(self, most: int = -1) -> list[dict[str, Any]]:
        """Those that have come."""
        if most < 0 and not self.closed:
            self._read()
        *whole, self._rest = self._rest.split(b"\n", most)
        return [json.loads(line) for line in whole]

    def _read(self) -> None:
        try:
            block = os.read(self._descriptor, BLOCK)
        except BlockingIOError:
            return
        self._rest += block
        self.closed = not block


class Task(Supervision):
    """One rank, or what a node runs before its ranks."""

    def __init__(
        self, plan: dict[str, Any], channel: Channel, memory: MemoryGuard, *, initialising: bool
    ) -> None:
        # Process managers of MPI hand a connection over.
        fds = [int(number) for name in ("PMI_FD",) if (number := os.environ.get(name, "")).isdecimal()]
        super().__init__(Path(plan["workspace"]), plan, memory, fds)
        self._initialising_only = initialising
        self._channel = channel
        self._wish = ""
        self._terminated = False
        signal.signal(signal.SIGTERM, self._take_note)

    def run(self) -> Record:
        """Run to the end; returns the record."""
        self._initialising = self._initialising_only
        return super().run()

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _rank_ended(self, rank: int, code: int) -> None:
        self._note_signal()
        super()._rank_ended(rank, code)

    def _note_signal(self) -> None:
        if self._terminated and self._verdict is None:
            # Slurm has sent its signal to every process, so ours need no other.
            self._decide("interrupted", int(self._plan["ranks"][0]["rank"]), -signal.SIGTERM)
            self._kill_at = self._time_to_kill()

    def _asked(self) -> str:
        return self._wish

    def _look(self) -> None:
        for said in self._channel.lines():
            self._wish = self._wish or str(said.get("end", ""))
            if said.get("warn"):
                self._warn_now()
        if self._channel.closed:
            self._wish = self._wish or "interrupted"
        self._note_signal()
        super()._look()


def for_task(whole: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the supervision of this task has to know, of what all tasks are told.

    Args:
        whole: as the supervisor in the job says it.
        environ: of this task, with its place in Slurm's variables.
    """
    node, local = int(environ["SLURM_NODEID"]), int(environ["SLURM_LOCALID"])
    rank = node * int(whole["ranks_per_node"]) + local
    place = {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "POLLINATOR_NODE_RANK": str(node),
        "POLLINATOR_NODELIST": ",".join(whole["nodes"]),
        "MASTER_ADDR": str(whole["master_address"]),
        "MASTER_PORT": str(whole["master_port"]),
    }
    hidden = tuple(whole["hidden"])
    inherited = {name: value for name, value in environ.items() if not name.startswith(hidden)}
    container = whole["container"]
    if container:
        # The engine sees the node's variables; the rank those by which Slurm and MPI find it, and no others.
        container = container | {"env": inherited | container["env"]}
        inherited = {name: value for name, value in inherited.items() if name.startswith(INSIDE)}
    mine = {
        "rank": rank,
        "argv": whole["argv"],
        "env": inherited | whole["env"] | place,
        "output": os.path.join(whole["output"], str(rank)),
    }
    copied = ("run_id", "workspace", "cwd", "walltime_ms", "warning", "grace_ms", "memory_bytes")
    kept = {name: whole[name] for name in copied}
    return {"ranks": [mine], "init_command": "", "container": container, **kept}


def main() -> int:
    """Run the rank; returns its exit code."""
    prepare_process()
    channel = Channel(0)
    whole = channel.first()
    plan = for_task(whole, os.environ)
    record = Task(plan, channel, _guard(plan), initialising=bool(whole["initialising"])).run()
    record["node"] = int(os.environ["SLURM_NODEID"])
    write_json(Path(whole["records"]) / f"{plan['ranks'][0]['rank']}.json", record)
    # Of one that ended for another's sake nobody has to hear.
    return 0 if record["reason"] == STOPPED else int(record["exit_code"])


def _guard(plan: Mapping[str, Any]) -> MemoryGuard:
    """Slurm's group where it holds jobs to their memory; else the first task of a node adds up for all."""
    group = given_group(f"job_{os.environ['SLURM_JOB_ID']}")
    if group is not None:
        return group
    first = os.environ["SLURM_LOCALID"] == "0"
    limit = int(plan["memory_bytes"]) if first else 0
    return SamplingGuard(limit, of=os.getppid() if first and limit else None)


if __name__ == "__main__":
    sys.exit(main())
