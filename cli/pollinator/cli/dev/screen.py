"""What ``pollinator dev`` looks like: a line between runs, their output, how each ended, and the keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pollinator.cli.changes import print_changes
from pollinator.cli.dev.plan import Cause
from pollinator.cli.main import tell
from pollinator.cli.plain import json_text, plain
from pollinator.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, Terminal, clipped, painted
from pollinator.cli.view import JsonView, Style, TerminalView, View
from pollinator.cli.words import duration_text, reason_word, run_time_s, signal_text, what_happened
from pollinator.v1.executor_pb2 import Executor
from pollinator.v1.project_pb2 import DiffRunsResponse
from pollinator.v1.run_pb2 import OutcomeReason, Run, RunState, WatchRunResponse
from pollinator.wire.errors import PollinatorError

HELP = "r run again  c cancel  d what changed  e executor  q quit  Q cancel and quit"
IDLE = "Waiting for a save; ? lists the keys"

CHOICES = 9
"""So many executors can be chosen by a key."""


class Screen:
    """The two streams of one loop, for people or for programs."""

    def __init__(self, terminal: Terminal, style: Style, *, as_json: bool) -> None:
        self._terminal = terminal
        self._style = style
        self.as_json = as_json
        self._number = 0
        self.keys = False
        """Somebody can press keys."""

    @property
    def terminal(self) -> Terminal:
        """The streams themselves."""
        return self._terminal

    def watching(self, what: str) -> None:
        """What is watched, and what one can do."""
        self._terminal.say(f"Watching {what}; a save runs it again.")
        self.offer(HELP)

    def offer(self, text: str = IDLE) -> None:
        """Which keys there are, if there are any."""
        if self.keys:
            self._terminal.say(painted(text, DIM, self._terminal.colour_err))

    def begin(self, what: str, cause: Cause, run: Run | None) -> None:
        """The line between runs; None for one that cannot be started."""
        self._number += 1
        if self.as_json:
            edits = {"paths": [each.decode("utf-8", "surrogateescape") for each in cause.paths]}
            told = {"number": self._number, "what": what, "edits": edits | {"count": cause.count}}
            self._terminal.print(json_text({"started": told | {"run": plain(run) if run else None}}))
            return
        on = f" on {run.executor}" if run is not None and run.executor else ""
        parts = [time.strftime("%H:%M:%S"), f"{what} {self._number}{on}", str(cause)]
        line = f"--- {'  '.join(filter(None, parts))} "
        width = self._terminal.width - 1
        if self._terminal.bars:
            line = clipped(line, width).ljust(width, "-")
        self._terminal.say(painted(line.rstrip(), BOLD, self._terminal.colour_err))

    def view(self, run: Run) -> View:
        """Takes what the run prints."""
        if self.as_json:
            return JsonView(self._terminal, self._style)
        return _Between(self._terminal, run, self._style)

    def end(self, run: Run, view: View, *, superseded: bool) -> None:
        """How the run ended, and after which time."""
        if isinstance(view, _Between):
            view.finish_line()
        if self.as_json:
            view.end(run)
            return
        took_s = run_time_s(run, datetime.now(UTC))
        after = f" after {duration_text(took_s)}" if took_s is not None else " before it started"
        word, colour = _ending(run, superseded=superseded)
        self._terminal.say(f"{painted(word, colour, self._terminal.colour_err)}{after}", ProcessID=run.id)
        plain_exit = run.outcome.reason == OutcomeReason.OUTCOME_REASON_EXIT_CODE and not run.outcome.rank
        if not plain_exit and not superseded and (happened := what_happened(run)):
            self._terminal.fail(happened)

    def still_ending(self, run: Run) -> None:
        """A run that was to end takes its time."""
        self._terminal.warn(f"run {run.id} is still ending; the next one does not wait for it")

    def refused(self, error: PollinatorError) -> None:
        """A run cannot be started as things are."""
        tell(error, self._terminal)

    def changes(self, answer: DiffRunsResponse) -> None:
        """What differs between two runs."""
        print_changes(answer, self._terminal)

    def choices(self, executors: Sequence[Executor], current: str) -> None:
        """The executors, each with the key that chooses it as far as there are keys."""
        for number, each in enumerate(executors[:CHOICES], start=1):
            mark = "*" if each.name == current else " "
            kind = f"  {each.kind}" if each.kind != each.name else ""
            self._terminal.say(f" {mark}{number}  {each.name}{kind}")
        if (more := len(executors) - CHOICES) > 0:
            self._terminal.say(f"    {more} more: pollinator dev --on NAME")
        self._terminal.say("Press a number; any other key leaves it as it is.")


class _Between(TerminalView):
    """Output and what happens on the way; the lines before and after a run say the rest."""

    def __init__(self, terminal: Terminal, run: Run, style: Style) -> None:
        begun = Run()
        begun.CopyFrom(run)
        # That it starts is no news here.
        begun.start_time.GetCurrentTime()
        super().__init__(terminal, begun, style)
        self._shown_by = terminal
        self._whole_line = True

    def take(self, message: WatchRunResponse) -> None:
        """Show one message, unless the user has asked for what it tells."""
        kind = message.WhichOneof("kind")
        if kind == "output":
            self._whole_line = message.output.data.endswith(b"\n")
        elif kind == "event" and message.event.HasField("cancel_requested"):
            return
        super().take(message)

    def finish_line(self) -> None:
        """Complete the output, so that what is said next begins a line."""
        self.finish()
        if not self._whole_line and self._shown_by.read_by_people:
            self._shown_by.say("")


def _ending(run: Run, *, superseded: bool) -> tuple[str, str]:
    outcome = run.outcome
    match run.state:
        case RunState.RUN_STATE_SUCCEEDED:
            return "exit 0", GREEN
        case RunState.RUN_STATE_CANCELLED:
            return "superseded" if superseded else "cancelled", YELLOW
        case RunState.RUN_STATE_LOST:
            return "lost", RED
        case RunState.RUN_STATE_FAILED if outcome.reason == OutcomeReason.OUTCOME_REASON_EXIT_CODE:
            return f"exit {outcome.exit_code}", RED
        case RunState.RUN_STATE_FAILED if outcome.reason == OutcomeReason.OUTCOME_REASON_SIGNAL:
            return f"signal {signal_text(outcome.signal)}", RED
        case RunState.RUN_STATE_FAILED:
            return f"failed ({reason_word(run).replace('_', ' ')})", RED
        case _:
            return "ending", YELLOW
