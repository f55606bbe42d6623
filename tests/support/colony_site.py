"""Executors of ours that serve a colony, each a process of its own, and the processes that they are given."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pollinator.v1.run_pb2 import CancelRunRequest
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from support.colonies.asking import Member
from support.colonies.sites import Site
from support.sandbox import BIN, Sandbox, wait_until

FAILED = 3
ENDS = (2, FAILED, 4)


def function_spec(site: Site, kind: str, command: str, **changes: Any) -> dict[str, Any]:
    """As the original program submits it, without files."""
    spec: dict[str, Any] = {
        "nodename": "",
        "funcname": "execute",
        "args": [],
        "kwargs": {
            "docker-image": "",
            "rebuild-image": False,
            "init-cmd": "",
            "cmd": command,
            "args": [],
        },
        "priority": 5,
        "maxwaittime": -1,
        "maxexectime": 599,
        "maxretries": 3,
        "label": "test_label",
        "conditions": {
            "colonyname": site.name,
            "executornames": [],
            "executortype": kind,
            "dependencies": [],
            "nodes": 1,
            "cpu": "100m",
            "processes": 0,
            "processespernode": 1,
            "mem": "100Mi",
            "storage": "",
            "gpu": {"name": "", "mem": "", "count": 0, "nodecount": 0},
            "walltime": 600,
        },
        "fs": {"mount": "", "snapshots": [], "dirs": []},
        "env": {},
    }
    return spec | changes


class Serving:
    """A ``pollinator-executor KIND --colonies``."""

    def __init__(
        self, site: Site, box: Sandbox, kind: str, name: str, environment: Mapping[str, str]
    ) -> None:
        self.site = site
        self.box = box
        self.kind = kind
        self.name = name
        self.type = f"type-{name}"
        self.state = box.folder / "x"
        self.log = box.folder / "executor.log"
        self.socket = box.folder / "r" / "x.sock"
        self.user = site.user()
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    # Its process

    def start(self, *settings: str, **environment: str) -> None:
        """Start it, and do not wait."""
        command = [str(BIN / "pollinator-executor"), self.kind, "--colonies"]
        command += ["--socket", str(self.socket), "--state", str(self.state)]
        command += ["--set", "colonies.beat=2"]
        command += [f"--set={each}" for each in settings]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.box.env | self._variables() | self._environment | environment,
                start_new_session=True,
            )

    def _variables(self) -> dict[str, str]:
        shared = self.site.environment(self.site.owner)
        del shared["COLONIES_PRVKEY"]
        return shared | {
            "COLONIES_COLONY_PRVKEY": self.site.owner.key,
            "COLONIES_EXECUTOR_NAME": self.name,
            "COLONIES_EXECUTOR_TYPE": self.type,
        }

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """As a site does that stops it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(30)

    def died(self) -> None:
        """Wait until it was killed at a crash point."""
        assert self._process is not None
        assert self._process.wait(30) == -signal.SIGKILL, self.log.read_text()

    def restart(self, *settings: str, **environment: str) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start(*settings, **environment)

    def close(self) -> None:
        """End it, and all it started."""
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGTERM)
            self._process.wait(20)
        self.box.close()

    def identity(self) -> str:
        """Wait until it is in the colony; who it is there."""
        found: list[str] = []

        def is_there() -> bool:
            all_of_them: list[Any] = self.ask("getexecutorsmsg", colonyname=self.site.name) or []
            named = (each for each in all_of_them if each["executorname"] == self.name)
            found.extend(each["executorid"] for each in named if each["state"] == 1)
            return bool(found)

        wait_until(is_there, "it is in the colony")
        return found[0]

    def cancel_run(self, run_id: str) -> None:
        """Cancel a run as whoever has this executor may, past the colony."""

        async def cancel() -> None:
            async with open_channel(f"unix:{self.socket}") as channel:
                request = CancelRunRequest(run_id=run_id, by="the site")
                await RunServiceStub(channel).CancelRun(request, timeout=10)

        asyncio.run(cancel())

    # Its processes

    def submit(self, command: str = "true", **changes: Any) -> str:
        """Have a command run; returns the id of the process."""
        spec = function_spec(self.site, self.type, command, **changes)
        return str(self.ask("submitfuncspecmsg", spec=spec)["processid"])

    def conditions(self, **changes: Any) -> dict[str, Any]:
        """Conditions of its processes, with what differs."""
        usual: dict[str, Any] = function_spec(self.site, self.type, "")["conditions"]
        return usual | changes

    def ask(self, kind: str, /, asker: Member | None = None, **fields: Any) -> Any:
        """Ask the server as the user does, or somebody else."""
        return self.site.line.ask(asker or self.user, kind, **fields).granted

    def process(self, process_id: str) -> dict[str, Any]:
        """One process as it is now."""
        found: dict[str, Any] = self.ask("getprocessmsg", processid=process_id)
        return found

    def reaches(self, process_id: str, *states: int, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until a process is in a state; returns it."""
        try:
            wait_until(
                lambda: self.process(process_id)["state"] in states, f"{process_id} is in {states}", timeout_s
            )
        except pytest.fail.Exception:
            sys.stderr.write(self.log.read_text())
            raise
        return self.process(process_id)

    def ended(self, process_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until a process has ended; returns it. Why it failed is there a moment later."""
        if (process := self.reaches(process_id, *ENDS, timeout_s=timeout_s))["state"] == FAILED:
            wait_until(lambda: self.process(process_id)["errors"], f"why {process_id} failed is there")
            return self.process(process_id)
        return process

    def printed(self, process_id: str) -> str:
        """All that is in the log of a process."""
        asked: dict[str, Any] = {"colonyname": self.site.name, "executorname": "", "count": 500}
        rows: list[Any] = []
        while True:
            since = rows[-1]["timestamp"] if rows else 0
            more: list[Any] = (
                self.ask("getlogsmsg", processid=process_id, since=since, latest=False, **asked) or []
            )
            rows += more
            if len(more) < 500:
                return "".join(row["message"] for row in rows)

    def prints(self, process_id: str, text: str) -> None:
        """Wait until a text is in the log of a process."""
        wait_until(lambda: text in self.printed(process_id), f"{text!r} is printed")

    def attributes(self, process_id: str) -> dict[str, str]:
        """The variables of a process."""
        return {each["key"]: each["value"] for each in self.process(process_id)["attributes"]}

    def outcome(self, process_id: str) -> dict[str, Any]:
        """How a process ended, as this executor says."""
        told: dict[str, Any] = json.loads(self.attributes(process_id)["POLLINATOR_OUTCOME"])
        return told

    def in_hand(self) -> list[str]:
        """Names of the files of what is in hand."""
        return sorted(path.name for path in (self.state / "colony" / "processes").glob("*.json"))


@contextmanager
def serving(site: Site, kind: str = "local", /, *settings: str, **environment: str) -> Generator[Serving]:
    """An executor that serves a colony."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    there = Serving(site, box, kind, site.fresh("serving"), environment)
    try:
        there.start(*settings)
        yield there
    finally:
        there.close()
