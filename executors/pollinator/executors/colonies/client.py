"""One colony, with a method for each message that is used.

Reading may be repeated and is; what changes something is asked for once, and ``Unanswered`` means that it may
have happened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from pollinator.executors.colonies.messages import (
    ENV,
    Executor,
    File,
    FileRow,
    Json,
    LogRow,
    Process,
    Snapshot,
    State,
    executor_of,
    file_of,
    log_of,
    objects,
    one,
    process_of,
    row_of,
    snapshot_of,
)
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.rpc import Rpc
from pollinator.executors.colonies.together import to_its_end
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import AlreadyExists, NotFound, PollinatorError, TimedOut, Unavailable

MOST_LOGS = 500
MOST_PROCESSES = 100
"""The server gives no more at once."""
SNAPSHOT_S = 600.0
"""To take a snapshot, the server asks its database for each file: an idle one takes 5 s for 10,000."""
EVER_S = 20 * 365 * 86400
LOG_S = 120.0
SLACK_S = 15.0
"""So much longer than the server says it waits its answer may take."""
END_S = 2.0
"""So long whoever is told to stop waits for the answer to what changes something: the server does
what was sent all the same, and nobody would know when."""


class Client:
    """One colony as one member sees it. Belongs to one event loop."""

    def __init__(self, colony: Colony, rpc: Rpc | None = None) -> None:
        self.colony = colony.name
        self.rpc = rpc or Rpc(colony)

    async def close(self) -> None:
        """Close the connections."""
        await self.rpc.close()

    # Processes

    async def submit(self, spec: Mapping[str, Any]) -> Process:
        """Submit a function spec."""
        return process_of(_named("processid", await self._call("submitfuncspecmsg", spec=spec)))

    async def process(self, process_id: str) -> Process:
        """One process; raises NotFound."""
        return process_of(_named("processid", await self._read("getprocessmsg", processid=process_id)))

    async def processes(self, state: int, label: str = "", count: int = MOST_PROCESSES) -> list[Process]:
        """The newest processes in one state, or those of them whose spec has a label."""
        found = await self._read(
            "getprocessesmsg",
            colonyname=self.colony,
            count=count,
            state=state,
            executortype="",
            label=label,
            initiator="",
        )
        return [process_of(each) for each in objects(found)]

    async def assigned(self) -> list[Process]:
        """Running processes that were given to whoever asks, an executor."""
        found = await self._read(
            "getprocesshistmsg",
            colonyname=self.colony,
            executorid=self.rpc.identity,
            seconds=EVER_S,
            state=int(State.RUNNING),
        )
        return [process_of(each) for each in objects(found)]

    async def cancel(self, process_id: str) -> None:
        """End a process; its executor has to find out by itself. Harmless when repeated."""
        await self._call("cancelprocessmsg", processid=process_id)

    async def assign(self, timeout_s: int, cpu: str = "", memory: str = "") -> Process | None:
        """Take the next process, or None when there was none for so long.

        Also says that this executor lives: nothing else does.

        Args:
            timeout_s: how long the server waits, in seconds; -1 does not wait.
            cpu: what is free, as ``4000m``; empty is no limit.
            memory: what is free, as ``16Gi``; empty is no limit.
        """
        try:
            found = await self.rpc.call(
                "assignprocessmsg",
                {
                    "colonyname": self.colony,
                    "timeout": timeout_s,
                    "availablecpu": cpu,
                    "availablemem": memory,
                },
                timeout_s=max(0, timeout_s) + SLACK_S,
            )
        except (NotFound, TimedOut):
            # The latter where the colony is paused.
            return None
        return process_of(_named("processid", found))

    async def close_successful(self, process_id: str, output: Sequence[Any] = ()) -> None:
        """Say that a process has ended well. Harmless when repeated."""
        await self._call("closesuccessfulmsg", processid=process_id, out=list(output))

    async def close_failed(self, process_id: str, errors: Sequence[str]) -> None:
        """Say that a process has failed, for good."""
        await self._call("closefailedmsg", processid=process_id, errors=list(errors))

    async def set_output(self, process_id: str, output: Sequence[Any]) -> None:
        """Set the output of a running process."""
        await self._call("setoutputmsg", processid=process_id, out=list(output))

    async def add_attribute(self, process_id: str, key: str, value: str) -> None:
        """Set a variable of a running process, for those who look at it; the first value stays."""
        attribute = {
            "targetid": process_id,
            "targetcolonyname": self.colony,
            "attributetype": ENV,
            "key": key,
            "value": value,
        }
        with suppress(AlreadyExists):
            await self._call("addattributemsg", attribute=attribute)

    async def reached(self, process_id: str, states: Collection[int], timeout_s: float) -> bool:
        """Wait until a process is in one of some states; False after the timeout.

        The server tells as soon as it happens. Raises Unavailable where it cannot: then ask now and then.
        """
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                # The server tells of one state only, and never of another that came instead. On one line it
                # might tell of two at once, which would be its end.
                waiting = {group.create_task(self._told(process_id, each, timeout_s)) for each in states}
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
        except TimeoutError:
            return False
        errors = [error for task in done if (error := task.result())]
        if len(errors) == len(done):
            raise errors[0]
        return True

    async def _told(self, process_id: str, state: int, timeout_s: float) -> PollinatorError | None:
        """Wait until a process is in one state; returns why that is not told."""
        fields = {"colonyname": self.colony, "processid": process_id, "executortype": "", "state": int(state)}
        # Then the server closes the line.
        fields["timeout"] = math.ceil(timeout_s) + 1
        try:
            async with aclosing(self.rpc.heard("subscribeprocessmsg", fields)) as heard:
                async for payload in heard:
                    if process_of(one(payload)).state == state:
                        return None
        except PollinatorError as error:
            return error
        return Unavailable("the Colonies server tells nothing any more", reason="colony_cut")

    # Logs

    async def add_log(self, process_id: str, message: str) -> None:
        """Add a row to the log of a process that runs here."""
        # It is better to wait for the answer than not to know.
        fields = {"processid": process_id, "message": message}
        await to_its_end(self.rpc.call("addlogmsg", fields, timeout_s=LOG_S), END_S)

    async def logs(self, process_id: str, since_ns: int = 0, count: int = MOST_LOGS) -> list[LogRow]:
        """Rows after a moment, oldest first."""
        found = await self._read(
            "getlogsmsg",
            colonyname=self.colony,
            processid=process_id,
            executorname="",
            count=count,
            since=since_ns,
            latest=False,
        )
        return [log_of(each) for each in objects(found)]

    # Files

    async def files(self, label: str) -> list[FileRow]:
        """Newest revisions of the files in one label, without those below it."""
        found = await self._read("getfilesmsg", colonyname=self.colony, label=label)
        return [row_of(each) for each in objects(found)]

    async def labels(self, label: str) -> list[str]:
        """This label and those below it that hold files."""
        # With ``exact`` the server forgets those below a label that holds none itself, and without it others
        # may begin as the label does.
        found = await self._read("getfilelabelsmsg", colonyname=self.colony, name=label, exact=False)
        names = {each["name"] for each in objects(found) if isinstance(each.get("name"), str)}
        return sorted(name for name in names if name == label or name.startswith(f"{label}/"))

    async def file(self, label: str, name: str) -> File:
        """The newest revision of a file; raises NotFound."""
        found = await self._read(
            "getfilemsg", colonyname=self.colony, fileid="", label=label, name=name, latest=True
        )
        return _newest(found, f"{label}/{name}")

    async def revisions(self, label: str, name: str) -> list[File]:
        """All revisions of a file; raises NotFound."""
        found = await self._read(
            "getfilemsg", colonyname=self.colony, fileid="", label=label, name=name, latest=False
        )
        return [file_of(each) for each in objects(found)]

    async def file_by_id(self, file_id: str) -> File:
        """One revision of a file; raises NotFound."""
        found = await self._read(
            "getfilemsg", colonyname=self.colony, fileid=file_id, label="", name="", latest=False
        )
        return _newest(found, file_id)

    async def add_file(self, message: Mapping[str, Any]) -> File:
        """Add a revision of a file."""
        return file_of(_named("fileid", await self._call("addfilemsg", file=message)))

    async def remove_file(self, label: str, name: str) -> None:
        """Remove all revisions of a file."""
        await self._call("removefilemsg", colonyname=self.colony, fileid="", label=label, name=name)

    async def create_snapshot(self, label: str, name: str) -> Snapshot:
        """Keep the files of a label and of those below it as they are now."""
        message = {"colonyname": self.colony, "label": label, "name": name}
        found = await self.rpc.call("createsnapshotmsg", message, timeout_s=SNAPSHOT_S)
        return snapshot_of(_named("snapshotid", found))

    async def snapshot(self, snapshot_id: str) -> Snapshot:
        """A snapshot; raises NotFound."""
        found = await self._read("getsnapshotmsg", colonyname=self.colony, snapshotid=snapshot_id, name="")
        return snapshot_of(_named("snapshotid", found))

    async def remove_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot; the files stay."""
        await self._call("removesnapshotmsg", colonyname=self.colony, snapshotid=snapshot_id, name="")

    # Executors

    async def executors(self) -> list[Executor]:
        """All executors of the colony."""
        found = await self._read("getexecutorsmsg", colonyname=self.colony)
        return [executor_of(each) for each in objects(found)]

    async def add_executor(
        self,
        identity: str,
        name: str,
        kind: str,
        capabilities: Mapping[str, Any] | None = None,
        *,
        location: str = "",
    ) -> None:
        """Register an executor; needs the key of the colony.

        Args:
            identity: of its key.
            name: which nobody else in the colony has.
            kind: its type, which function specs ask for.
            capabilities: what it is made of. Versions before 1.9.6 want another form; all take none.
            location: where it is; versions before 1.9.6 do not keep that.
        """
        executor: dict[str, Any] = {
            "executorid": identity,
            "executorname": name,
            "executortype": kind,
            "colonyname": self.colony,
        }
        if capabilities is not None:
            executor["capabilities"] = capabilities
        if location:
            executor["locationname"] = location
        await self._call("addexecutormsg", executor=executor)

    async def update_executor(self, name: str, capabilities: Mapping[str, Any]) -> None:
        """Say anew what this executor is made of; it alone may."""
        await self._call(
            "updateexecutormsg", colonyname=self.colony, executorname=name, capabilities=capabilities
        )

    async def approve_executor(self, name: str) -> None:
        """Let an executor take work; needs the key of the colony."""
        await self._call("approveexecutormsg", colonyname=self.colony, executorname=name)

    async def remove_executor(self, name: str) -> None:
        """Forget an executor: what it runs waits again. Needs the key of the colony."""
        await self._call("removeexecutormsg", colonyname=self.colony, executorname=name)

    async def add_function(self, executor: str, name: str) -> None:
        """Say that an executor knows a function."""
        await self._call(
            "addfunctionmsg", fun={"executorname": executor, "colonyname": self.colony, "funcname": name}
        )

    async def version(self) -> str:
        """Of the server; anybody may ask."""
        return str(one(await self._read("versionmsg")).get("buildversion", ""))

    async def _call(self, kind: str, **fields: Any) -> Any:
        return await to_its_end(self.rpc.call(kind, fields), END_S)

    async def _read(self, kind: str, **fields: Any) -> Any:
        return await self.rpc.call(kind, fields, repeat=True)


def _newest(found: Any, what: str) -> File:
    revisions = [file_of(each) for each in objects(found)]
    if not revisions:
        raise NotFound(f"the colony has no file {what}", reason="colony_missing")
    return max(revisions, key=lambda each: each.sequence)


def _named(name: str, answer: Any) -> Json:
    """What an answer is about; one that does not say so is none."""
    message = one(answer)
    if not isinstance(message.get(name), str) or not message[name]:
        raise Unanswered(f"the Colonies server answers without {name}", reason="colony_garbled")
    return message
