"""What a followed run looks like: its messages become lines on a terminal, or JSON lines. No waiting here."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Protocol

from pollinator.cli.plain import json_text, plain
from pollinator.cli.progress import TransferBar
from pollinator.cli.ranks import LabelledOutput, RawOutput
from pollinator.cli.terminal import Terminal
from pollinator.cli.words import what_happened, what_to_do
from pollinator.v1.run_pb2 import (
    Notice,
    OutputBlock,
    PendingReason,
    Reachability,
    Run,
    RunEvent,
    RunState,
    Severity,
    StateChanged,
    WatchRunResponse,
)

ENDS = (
    RunState.RUN_STATE_SUCCEEDED,
    RunState.RUN_STATE_FAILED,
    RunState.RUN_STATE_CANCELLED,
    RunState.RUN_STATE_LOST,
)

HOLD_S = 1.5
"""Of a run that waits no longer it is not said why."""


@dataclass(frozen=True, slots=True)
class Style:
    """How output is shown. With neither label nor raw, several ranks are labelled and one is not."""

    label: bool = False
    raw: bool = False
    rank: int | None = None
    """Only this rank's output."""
    events: bool = True
    """Tell what happens to the run as well."""


class View(Protocol):
    """Takes the messages of a followed run in order."""

    def take(self, message: WatchRunResponse) -> None:
        """Show one message."""
        ...

    def end(self, run: Run) -> None:
        """Show how it ended; ``run`` is the authoritative word."""
        ...


class TerminalView:
    """Output on stdout, what happens to the run on stderr."""

    def __init__(self, terminal: Terminal, run: Run, style: Style) -> None:
        self._terminal = terminal
        self._bar = TransferBar(terminal)
        self._style = style
        self._id = run.id
        ranks = max(1, run.spec.nodes) * max(1, run.spec.processes_per_node)
        labelled = style.label or (ranks > 1 and not style.raw and style.rank is None)
        self._output: LabelledOutput | RawOutput = (
            LabelledOutput(terminal.write, ranks, terminal.colour_out)
            if labelled
            else RawOutput(terminal.write)
        )
        self._waiting_for = ""
        self._pending = PendingReason()
        self._held: asyncio.TimerHandle | None = None
        self._started = run.HasField("start_time")

    def take(self, message: WatchRunResponse) -> None:
        """Show one message."""
        match message.WhichOneof("kind"):
            case "output":
                self._take_output(message.output)
            case "event" if self._style.events:
                self._bar.clear()
                self._take_event(message.event)
            case "progress" if self._style.events:
                self._bar.show(message.progress)
            case _:
                pass

    def tell_pending(self, pending: PendingReason) -> None:
        """Why the run waits, once for each change."""
        if pending.text == self._waiting_for:
            return
        self._waiting_for = pending.text
        if pending.text:
            self._terminal.say(f"Waiting: {pending.text}")
            if pending.action:
                self._terminal.hint(pending.action)

    def tell_silence(self, detail: str) -> None:
        """The executor is not reached."""
        what = "the run goes on" if self._started else "the run waits for it"
        self._terminal.warn(f"no word from the executor, {what}{': ' * bool(detail)}{detail}")

    def _wait(self, pending: PendingReason) -> None:
        """Tell why it waits once it does for a moment: most runs go on at once."""
        self._pending = pending
        if self._waiting_for:
            self.tell_pending(pending)
        elif self._held is None:
            self._held = asyncio.get_running_loop().call_later(HOLD_S, self._tell_held)

    def _tell_held(self) -> None:
        self._held = None
        self._bar.clear()
        self.tell_pending(self._pending)

    def _go_on(self, *, starts: bool = False) -> None:
        """It does not wait any more; one that starts may wait on for the same."""
        if not starts:
            self._waiting_for = ""
        if self._held is not None:
            self._held.cancel()
            self._held = None

    def finish(self) -> None:
        """Complete the output, and say nothing."""
        self._go_on()
        self._output.finish()

    def end(self, run: Run) -> None:
        """Complete the output; say how the run ended, what happened, and what to do."""
        self.finish()
        if not self._style.events:
            return
        say = self._terminal.say
        match run.state:
            case RunState.RUN_STATE_SUCCEEDED:
                say("Process finished successfully", ProcessID=run.id)
            case RunState.RUN_STATE_CANCELLED:
                say("Process cancelled", ProcessID=run.id)
            case RunState.RUN_STATE_LOST:
                say("Process lost", ProcessID=run.id)
            case RunState.RUN_STATE_FAILED:
                say("Process failed", ProcessID=run.id)
            case _:
                return
        tell_end(self._terminal, run)

    def _take_output(self, block: OutputBlock) -> None:
        # The first bytes can be here before the word that the ranks have started.
        self._tell_start()
        if self._style.rank is None or self._style.rank == block.rank:
            self._output.add(block.rank, block.data)

    def _take_event(self, event: RunEvent) -> None:
        match event.WhichOneof("kind"):
            case "state_changed":
                self._moved(event.state_changed)
            case "pending":
                self._wait(event.pending)
            case "notice":
                tell_notice(self._terminal, event.notice)
            case "cancel_requested":
                by = event.cancel_requested.by
                self._terminal.say("Cancelling", ProcessID=self._id, **({"By": by} if by else {}))
            case "reachability":
                self._reachability(event.reachability)
            case _:
                pass

    def _moved(self, change: StateChanged) -> None:
        self._go_on(starts=change.state == RunState.RUN_STATE_STARTING)
        if change.state == RunState.RUN_STATE_RUNNING:
            self._tell_start()
        elif change.state == RunState.RUN_STATE_QUEUED and change.attempt > 1:
            self._started = False
            self._terminal.say("Process queued again", ProcessID=self._id, Attempt=str(change.attempt))

    def _tell_start(self) -> None:
        if self._style.events and not self._started:
            self._started = True
            self._terminal.say("Process started", ProcessID=self._id)

    def _reachability(self, word: Reachability) -> None:
        if word.HasField("unreachable_since"):
            self.tell_silence(word.detail)
        else:
            self._terminal.say("The executor answers again")


class JsonView:
    """One JSON object a line: ``{"event": ...}``, ``{"output": ...}``, and last ``{"run": ...}``."""

    def __init__(self, terminal: Terminal, style: Style) -> None:
        self._terminal = terminal
        self._style = style

    def take(self, message: WatchRunResponse) -> None:
        """Print an event or a block of output."""
        match message.WhichOneof("kind"):
            case "event" if self._style.events:
                self._terminal.print(json_text({"event": plain(message.event)}))
            case "output" if self._style.rank in (None, message.output.rank):
                self._terminal.print(json_text({"output": _plain_output(message.output)}))
            case _:
                pass

    def end(self, run: Run) -> None:
        """Print the run as it is in the end."""
        self._terminal.print(json_text({"run": plain(run)}))


def tell_notice(terminal: Terminal, notice: Notice) -> None:
    """One line for the user."""
    if notice.severity == Severity.SEVERITY_WARNING:
        terminal.warn(notice.text)
    else:
        terminal.say(f"Note: {notice.text}")


def tell_end(terminal: Terminal, run: Run) -> None:
    """What happened to a run that did not succeed, and what to do about it."""
    if happened := what_happened(run):
        terminal.fail(happened)
    if to_do := what_to_do(run):
        terminal.hint(to_do)


def _plain_output(block: OutputBlock) -> dict[str, object]:
    """Text where it is text; bytes that are no UTF-8 are given exactly, too."""
    text = block.data.decode("utf-8", "replace")
    result: dict[str, object] = {"rank": block.rank, "offset": block.offset, "text": text}
    if text.encode() != block.data:
        result["base64"] = base64.b64encode(block.data).decode()
    return result
