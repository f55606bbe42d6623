"""What a followed run looks like."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pollinator.cli import view
from pollinator.cli.terminal import Terminal
from pollinator.cli.view import JsonView, Style, TerminalView
from pollinator.v1.run_pb2 import (
    CancelRequested,
    Notice,
    Outcome,
    OutcomeReason,
    OutputBlock,
    PendingReason,
    Progress,
    Reachability,
    Run,
    RunEvent,
    RunState,
    Severity,
    StateChanged,
    WatchRunResponse,
)
from pollinator.v1.spec_pb2 import RunSpec

ONE = Run(id="abc", spec=RunSpec(nodes=1, processes_per_node=1))
TWO = Run(id="abc", spec=RunSpec(nodes=2, processes_per_node=1))


class Streams:
    """A view on two streams in memory."""

    def __init__(self, run: Run = ONE, style: Style | None = None) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.view = TerminalView(Terminal(self._out, self._err, {}), run, style or Style())

    def take(self, *messages: WatchRunResponse) -> None:
        for message in messages:
            self.view.take(message)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def printed(rank: int, data: bytes) -> WatchRunResponse:
    return WatchRunResponse(output=OutputBlock(rank=rank, data=data))


def happened(event: RunEvent) -> WatchRunResponse:
    return WatchRunResponse(event=event)


def moved(state: RunState.ValueType, attempt: int = 1) -> WatchRunResponse:
    return happened(RunEvent(state_changed=StateChanged(state=state, attempt=attempt)))


def waiting(text: str, action: str = "") -> WatchRunResponse:
    return happened(RunEvent(pending=PendingReason(code="cpu", text=text, action=action)))


async def told(streams: Streams, times: int = 1) -> None:
    """It was said so often that the run waits."""
    async with asyncio.timeout(20):
        while streams.err.count("Waiting") < times:  # noqa: ASYNC110 - as a user looks
            await asyncio.sleep(0.001)


def test_one_rank_is_raw_and_several_are_labelled() -> None:
    alone, together = Streams(ONE), Streams(TWO)

    alone.take(printed(0, b"a\nb"))
    together.take(printed(1, b"a\nb"))

    assert alone.out == "a\nb"
    assert together.out == "[1] a\n"


def test_raw_and_label_are_taken_at_their_word() -> None:
    raw, labelled = Streams(TWO, Style(raw=True)), Streams(ONE, Style(label=True))

    raw.take(printed(1, b"a\n"))
    labelled.take(printed(0, b"a\n"))

    assert raw.out == "a\n"
    assert labelled.out == "[0] a\n"


def test_one_rank_of_several_is_raw() -> None:
    streams = Streams(TWO, Style(rank=1))

    streams.take(printed(0, b"no\n"), printed(1, b"yes\n"))

    assert streams.out == "yes\n"


async def test_why_a_run_waits_is_told_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting("all cores are taken", "wait"))
    await told(streams)
    streams.take(waiting("all cores are taken", "wait"), waiting("memory"))

    assert streams.err == "Waiting: all cores are taken\nHint: wait\nWaiting: memory\n"


async def test_of_several_reasons_at_once_the_last_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting("it is handed over"), waiting("memory"))
    await told(streams)

    assert streams.err == "Waiting: memory\n"


@pytest.mark.parametrize("state", [RunState.RUN_STATE_STARTING, RunState.RUN_STATE_RUNNING])
async def test_of_a_run_that_goes_on_at_once_it_is_not_said_that_it_waits(
    monkeypatch: pytest.MonkeyPatch, state: RunState.ValueType
) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting("the next that asks is given it"), moved(state))
    await asyncio.sleep(0.01)

    assert "Waiting" not in streams.err


async def test_a_reason_that_is_not_known_yet_keeps_none_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting(""))
    await asyncio.sleep(0.01)
    streams.take(waiting("memory"))
    await told(streams)

    assert streams.err == "Waiting: memory\n"


async def test_a_run_that_waits_again_says_so_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting("memory"))
    await told(streams)
    streams.take(moved(RunState.RUN_STATE_RUNNING), moved(RunState.RUN_STATE_QUEUED, 2), waiting("memory"))
    await told(streams, 2)

    assert streams.err.splitlines() == [
        "Waiting: memory",
        "Process started  ProcessID=abc",
        "Process queued again  ProcessID=abc  Attempt=2",
        "Waiting: memory",
    ]


async def test_a_run_that_starts_and_waits_on_for_the_same_does_not_say_so_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view, "HOLD_S", 0.0)
    streams = Streams()

    streams.take(waiting("cores"))
    await told(streams)
    streams.take(moved(RunState.RUN_STATE_STARTING), waiting("cores"), waiting("memory"))

    assert streams.err == "Waiting: cores\nWaiting: memory\n"


def test_events_are_told_on_stderr() -> None:
    streams = Streams()
    info = Notice(severity=Severity.SEVERITY_INFO, text="on the host")
    warning = Notice(severity=Severity.SEVERITY_WARNING, text="changed while read")

    streams.take(
        happened(RunEvent(notice=info)),
        happened(RunEvent(notice=warning)),
        moved(RunState.RUN_STATE_RUNNING),
        moved(RunState.RUN_STATE_QUEUED, attempt=2),
        happened(RunEvent(cancel_requested=CancelRequested(by="ada@box"))),
    )

    assert streams.out == ""
    assert streams.err.splitlines() == [
        "Note: on the host",
        "Warning: changed while read",
        "Process started  ProcessID=abc",
        "Process queued again  ProcessID=abc  Attempt=2",
        "Cancelling  ProcessID=abc  By=ada@box",
    ]


def test_the_start_is_told_once_and_before_the_first_output() -> None:
    streams = Streams()

    streams.take(printed(0, b"early\n"), moved(RunState.RUN_STATE_RUNNING), printed(0, b"later\n"))

    assert streams.err == "Process started  ProcessID=abc\n"


def test_a_run_that_was_running_already_is_not_said_to_start() -> None:
    streams = Streams(Run(id="abc", start_time=Timestamp(seconds=1)))

    streams.take(printed(0, b"late\n"))

    assert streams.err == ""


def test_silence_of_the_executor_is_told_and_taken_back() -> None:
    streams = Streams()
    silent = Reachability(unreachable_since=Timestamp(seconds=1), detail="connection refused")

    streams.take(happened(RunEvent(reachability=silent)), happened(RunEvent(reachability=Reachability())))

    assert streams.err.splitlines() == [
        "Warning: no word from the executor, the run waits for it: connection refused",
        "The executor answers again",
    ]


def test_a_run_that_has_started_goes_on_while_its_executor_is_silent() -> None:
    streams = Streams(Run(id="abc", start_time=Timestamp(seconds=1)))

    streams.take(happened(RunEvent(reachability=Reachability(unreachable_since=Timestamp(seconds=1)))))

    assert streams.err == "Warning: no word from the executor, the run goes on\n"


def test_without_events_only_output_is_shown() -> None:
    streams = Streams(ONE, Style(events=False))

    streams.take(waiting("x"), moved(RunState.RUN_STATE_RUNNING), printed(0, b"data"))
    streams.view.end(Run(id="abc", state=RunState.RUN_STATE_SUCCEEDED))

    assert (streams.out, streams.err) == ("data", "")


def test_no_bar_is_drawn_where_there_is_no_terminal() -> None:
    streams = Streams()

    streams.take(WatchRunResponse(progress=Progress(bytes_done=1, bytes_total=2)))

    assert streams.err == ""


def test_the_end_is_told_as_the_original_told_it() -> None:
    streams = Streams()

    streams.view.end(Run(id="abc", state=RunState.RUN_STATE_SUCCEEDED))

    assert streams.err == "Process finished successfully  ProcessID=abc\n"


def test_a_failure_says_what_happened_and_what_to_do() -> None:
    streams = Streams(TWO)
    outcome = Outcome(reason=OutcomeReason.OUTCOME_REASON_EXIT_CODE, exit_code=3)

    streams.take(printed(0, b"last words"))
    streams.view.end(Run(id="abc", state=RunState.RUN_STATE_FAILED, outcome=outcome))

    assert streams.out == "[0] last words\n"
    assert streams.err.splitlines() == [
        "Process started  ProcessID=abc",
        "Process failed  ProcessID=abc",
        "Error: The job ended with exit code 3.",
        "Hint: its output says more: pollinator logs --tail 50 abc",
    ]


def test_what_the_daemon_said_to_do_is_the_hint() -> None:
    streams = Streams()
    detail = "the bucket is not there\n  AWS_S3_BUCKET: look here\ncreate it"
    outcome = Outcome(reason=OutcomeReason.OUTCOME_REASON_SNAPSHOT, detail=detail)

    streams.view.end(Run(id="abc", state=RunState.RUN_STATE_FAILED, outcome=outcome))

    assert streams.err.splitlines() == [
        "Process failed  ProcessID=abc",
        "Error: the bucket is not there",
        "  AWS_S3_BUCKET: look here",
        "Hint: create it",
    ]


def test_a_cancelled_run_is_no_error() -> None:
    streams = Streams()

    streams.view.end(Run(id="abc", state=RunState.RUN_STATE_CANCELLED))

    assert streams.err == "Process cancelled  ProcessID=abc\n"


def test_as_json_each_message_is_one_object_and_the_run_comes_last() -> None:
    out = io.StringIO()
    lines = JsonView(Terminal(out, io.StringIO(), {}), Style())

    lines.take(moved(RunState.RUN_STATE_RUNNING))
    lines.take(printed(0, b"text\n"))
    lines.take(printed(0, b"\xff"))
    lines.end(Run(id="abc"))

    event, text, binary, last = [json.loads(line) for line in out.getvalue().splitlines()]
    assert event["event"]["state_changed"]["state"] == "running"
    assert text["output"] == {"rank": 0, "offset": 0, "text": "text\n"}
    assert binary["output"]["base64"] == "/w=="
    assert last["run"]["id"] == "abc"
