"""Beside a call that moves many bytes: how far it is, and what is largest when there is much to send."""

from __future__ import annotations

import asyncio

import grpc

from pollinator.cli.connect import Daemon
from pollinator.cli.describe import biggest_lines
from pollinator.cli.progress import TransferBar
from pollinator.cli.terminal import Terminal
from pollinator.cli.words import ignore_line
from pollinator.v1.project_pb2 import Project, WatchProjectRequest, WatchTransferRequest
from pollinator.wire.errors import NotFound, Unavailable
from pollinator.wire.status import to_error

QUICK_S = 0.4
"""Most calls take less, and are not burdened with a second one."""
_AGAIN_S = 0.2


async def show_upload(daemon: Daemon, terminal: Terminal, root: str) -> None:
    """Follow a project until cancelled; whatever fails here, the call itself says better."""
    await asyncio.sleep(QUICK_S)
    view = UploadView(terminal)
    while True:
        try:
            async for state in daemon.projects.WatchProject(WatchProjectRequest(root=root)):
                view.take(state.project)
        except grpc.aio.AioRpcError as cut:
            # The call that opens the project may not have got that far yet, or starts the daemon again.
            if not isinstance(to_error(cut), NotFound | Unavailable):
                return
        await asyncio.sleep(_AGAIN_S)


async def show_transfer(daemon: Daemon, terminal: Terminal, transfer_id: str) -> None:
    """Follow a call that was given this id; whatever fails here, the call itself says better."""
    if not terminal.bars:
        return
    bar = TransferBar(terminal)
    while True:
        await asyncio.sleep(QUICK_S)
        try:
            async for state in daemon.projects.WatchTransfer(WatchTransferRequest(transfer_id=transfer_id)):
                bar.show(state.progress)
        except grpc.aio.AioRpcError:
            return


class UploadView:
    """What the states of a project look like while it is sealed."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._bar = TransferBar(terminal)
        self._most = 0
        self._told = False

    def take(self, project: Project) -> None:
        """Show one state."""
        if project.biggest and not self._told:
            self._told = True
            self._tell_biggest(project)
        self._most = max(self._most, project.backlog_bytes)
        if self._most:
            self._bar.move("Uploading", self._most - project.backlog_bytes, self._most)

    def _tell_biggest(self, project: Project) -> None:
        self._terminal.say("There is much to send. The largest:")
        for line in biggest_lines(project.biggest):
            self._terminal.say(f"  {line}")
        largest = project.biggest[0]
        rule = ignore_line(largest.path, directory=largest.directory)
        self._terminal.hint(
            f"what no run needs can be left out, for example: echo {rule} >> .pollinatorignore"
        )
