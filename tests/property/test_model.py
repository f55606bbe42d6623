"""The model under everything that can be written and everything that can happen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from pollinator.model.ids import run_id
from pollinator.model.project import check_spec, load_spec, spec_settings
from pollinator.model.quantity import (
    MOST,
    format_bytes,
    format_cpu,
    format_duration,
    parse_bytes,
    parse_cpu,
    parse_duration_ms,
)
from pollinator.model.run import MOVES, InvalidMove, apply, fold, is_terminal
from pollinator.model.schema import json_schema
from pollinator.v1.run_pb2 import (
    CancelRequested,
    NodesAssigned,
    Notice,
    Outcome,
    PendingReason,
    Run,
    RunEvent,
    RunState,
    StateChanged,
    Usage,
)
from pollinator.v1.spec_pb2 import EnvironmentVariable, Gpu, RunSpec, Tunnel
from pollinator.wire.errors import InvalidInput, Violation

AMOUNTS = st.integers(0, MOST)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,10}", fullmatch=True)
VARIABLES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PORTS = st.integers(1, 65535)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(AMOUNTS)
def test_amounts_are_read_back_as_they_are_shown(amount: int) -> None:
    assert amount == parse_cpu(format_cpu(amount))
    assert amount == parse_bytes(format_bytes(amount))
    assert amount == parse_duration_ms(format_duration(amount))


@given(st.integers(0, MOST // 1024**5), st.sampled_from("KMGTP"))
def test_memory_in_binary_units_is_shown_as_people_write_it(number: int, unit: str) -> None:
    amount = number * 1024 ** ("KMGTP".index(unit) + 1)

    assert amount == parse_bytes(f"{number}{unit}i")
    assert len(format_bytes(amount)) <= len(f"{number}{unit}i")


@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59))
def test_a_clock_is_hours_minutes_and_seconds(hours: int, minutes: int, seconds: int) -> None:
    expected = ((hours * 60 + minutes) * 60 + seconds) * 1000

    assert expected == parse_duration_ms(f"{hours:02}:{minutes:02}:{seconds:02}")
    assert expected == parse_duration_ms(f"{hours}h{minutes}m{seconds}s")


def amount_or_sentence(parse: Callable[[str], int], text: str) -> int | str:
    try:
        return parse(text)
    except ValueError as error:
        return str(error)


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_refused_with_a_sentence(text: str) -> None:
    for parse in (parse_cpu, parse_bytes, parse_duration_ms):
        result = amount_or_sentence(parse, text)

        assert 0 <= result <= MOST if isinstance(result, int) else repr(text) in result


MOMENTS = st.tuples(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))


@given(st.lists(MOMENTS, min_size=2, max_size=9))
def test_ids_sort_by_time_and_then_by_randomness(moments: list[tuple[int, bytes]]) -> None:
    assert [run_id(*moment) for moment in sorted(moments)] == sorted(run_id(*moment) for moment in moments)
    assert len(set(moments)) == len({run_id(*moment) for moment in moments})


FRAGMENTS = st.sampled_from(
    [
        *["[", "]", "{", "}", ",", "|", ">", "'", "#", "!", "1", "a"],
        *[
            "projectname",
            "environment",
            "cmd",
            "conditions",
            "nodes",
            "env",
            "args",
            "gpu",
            "x-a",
            "<<",
            "yes",
            "null",
            "~",
            "01:30:00",
            "&a",
            "*a",
        ],
        *[": ", ":\n", "\n", "\n  ", "\n    ", "- ", "? ", '"', "\\x00", "\\U00110000", "!!int "],
        *["---\n", "...\n", "%YAML 1.1\n", "\t", "\r", "\ufeff", "\u2028", "\x85", "a: 1", " "],
    ]
)
FILES = st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60))


def refusal(text: str | bytes) -> Sequence[Violation]:
    """What is wrong; nothing when it is a project."""
    try:
        check_spec(load_spec(text, "f.yaml"))
    except InvalidInput as refused:
        return refused.violations or [Violation("nowhere", "")]
    return ()


@settings(max_examples=400, deadline=None)
@given(FILES)
@example("projectname: p\nenvironment: &a\n  cmd: x\n  <<: *a\n")
@example("? " * 400)
@example("{" * 2000)
def test_any_text_is_a_project_or_refused_with_a_place_in_it(text: str) -> None:
    lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
    for violation in refusal(text):
        place = re.fullmatch(r"f\.yaml:(\d+):(\d+)", violation.where)

        assert place is not None
        assert 1 <= int(place[1]) <= lines
        assert 1 <= int(place[2]) <= len(text) + 1
        assert 0 < len(violation.message) <= 303


@given(st.binary(max_size=40))
def test_any_bytes_are_a_project_or_refused(data: bytes) -> None:
    wrong = refusal(b"projectname: p\nenvironment: {cmd: x}\nx-a: " + data)

    assert all(each.where.startswith("f.yaml:") for each in wrong)


SPECS = st.builds(
    RunSpec,
    project=NAMES,
    nodes=st.integers(1, 10**6),
    processes_per_node=st.integers(1, 10**6),
    cpu_millis=AMOUNTS,
    memory_bytes=AMOUNTS,
    walltime_ms=AMOUNTS,
    gpu=st.builds(Gpu, count=st.integers(0, 10**6), name=WORDS),
    image=WORDS,
    rebuild_image=st.booleans(),
    init_command=WORDS,
    command=st.sampled_from(["python3", "sh -c 'a b'", "yes", "null", "1.10", "0x1", "~/x", "a\\ b"]),
    source=st.sampled_from(["", "main.py", "a/b c.py", "..a", "-", "yes"]),
    executor_names=st.lists(NAMES, max_size=2, unique=True),
    executor_type=st.one_of(st.just(""), NAMES),
    tunnel=st.builds(Tunnel, user=WORDS, jump_host_port=PORTS, local_port=PORTS, remote_port=PORTS),
    allow_external_links=st.booleans(),
    environment=st.dictionaries(VARIABLES, WORDS, max_size=3).map(
        lambda pairs: [EnvironmentVariable(name=name, value=pairs[name]) for name in sorted(pairs)]
    ),
)


def document_of(spec: RunSpec) -> dict[str, Any]:
    """A project.yaml that says what the spec says."""
    document: dict[str, Any] = {}
    for path, text in spec_settings(spec).items():
        holder = document
        *outer, name = path.split(".")
        for part in outer:
            holder = holder.setdefault(part, {})
        holder[name] = text.split() if path == "conditions.executorNames" else text
    return document


@QUICK
@given(SPECS)
def test_a_spec_that_is_written_down_is_read_back(spec: RunSpec) -> None:
    check_spec(spec)
    text = yaml.safe_dump(document_of(spec))

    assert spec == load_spec(text, "f.yaml") == load_spec(text.encode(), "f.yaml")


VALIDATOR: Any = Draft7Validator(json_schema())
NUMBERS = st.one_of(st.integers(-3, 2**70), st.floats(-1, 1e6).map(lambda number: round(number, 3) + 0))
AMOUNT_TEXTS = st.from_regex(r"-?[0-9]{1,4}(\.[0-9])?( ?[mkKMGshd]i?B?)?(:[0-9]{2})?", fullmatch=True)


@QUICK
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "nodes": st.one_of(st.integers(-1, 2 * 10**6), st.none()),
            "mem": st.one_of(NUMBERS, AMOUNT_TEXTS, st.none()),
            "cpu": st.one_of(st.integers(-3, 2**40), AMOUNT_TEXTS, st.none()),
            "walltime": st.one_of(NUMBERS, AMOUNT_TEXTS, st.none()),
            "gpu": st.one_of(st.none(), st.fixed_dictionaries({"count": st.integers(-1, 9)})),
            "executorNames": st.lists(NAMES, max_size=2),
            "sort": st.none(),
            "x-sort": st.none(),
        },
    )
)
def test_what_the_model_takes_an_editor_does_not_complain_about(conditions: dict[str, object]) -> None:
    document = {"projectname": "p", "conditions": conditions, "environment": {"cmd": "a"}}
    complains = not VALIDATOR.is_valid(document)
    wrong = refusal(yaml.safe_dump(document))
    # A pattern cannot say everything, but a wrong form it can.
    fine = re.compile("is more than there can be|is finer than|'[0-9.]+e[+-]|'[0-9]{19,}|:[6-9][0-9]'")
    worse = [each for each in wrong if not fine.search(each.message)]

    assert complains >= bool(worse)
    assert complains <= bool(wrong)


def events(draw: st.DrawFn, run: Run) -> RunEvent:
    """Something that may happen to a run."""
    allowed = sorted(MOVES[run.state])
    if len(allowed) > 0 and draw(st.booleans()):
        state = draw(st.sampled_from(allowed))
        back = state == RunState.RUN_STATE_QUEUED and run.state in (
            RunState.RUN_STATE_STARTING,
            RunState.RUN_STATE_RUNNING,
        )
        named = draw(st.booleans()) or back
        move = StateChanged(state=state, attempt=run.attempt + back if named else 0)
        if draw(st.booleans()):
            move.outcome.CopyFrom(Outcome(exit_code=draw(st.integers(0, 255))))
        return RunEvent(state_changed=move)
    return draw(
        st.sampled_from(
            [
                RunEvent(cancel_requested=CancelRequested()),
                RunEvent(pending=PendingReason(code="cpu")),
                RunEvent(nodes_assigned=NodesAssigned(nodes=["n"])),
                RunEvent(usage=Usage(peak_memory_bytes=1)),
                RunEvent(notice=Notice(code="c")),
                RunEvent(),
            ]
        )
    )


@st.composite
def logs(draw: st.DrawFn) -> list[RunEvent]:
    """A log as it may come about."""
    log = [RunEvent(seq=1, accepted=Run(id="r"))]
    log[0].time.FromSeconds(1)
    run = fold(log)
    for seq in range(2, draw(st.integers(2, 15))):
        event = events(draw, run)
        event.seq = seq
        event.time.FromSeconds(seq)
        run = apply(run, event)
        log.append(event)
    return log


@given(logs())
def test_every_log_leads_to_a_run_that_makes_sense(log: list[RunEvent]) -> None:
    run = fold(log)
    states = [event.state_changed.state for event in log if event.HasField("state_changed")]
    starts = [event for event in log if event.state_changed.state == RunState.RUN_STATE_RUNNING]

    assert len(log) == run.last_seq
    assert run.state == (states[-1] if states else RunState.RUN_STATE_ACCEPTED)
    assert run.HasField("end_time") == is_terminal(run.state)
    assert not any(map(is_terminal, states[:-1]))
    assert run.attempt >= 1
    assert not run.HasField("start_time") or run.start_time == starts[-1].time
    assert run.cancel_requested == any(event.HasField("cancel_requested") for event in log)
    assert len(run.notices) == sum(event.HasField("notice") for event in log)


@given(logs(), st.data())
def test_a_log_may_be_read_in_pieces(log: list[RunEvent], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(log)))
    run = fold(log[:at])
    for event in log[at:]:
        run = apply(run, event)

    assert fold(log) == run


@given(logs(), st.sampled_from(RunState.values()), st.integers(0, 4))
def test_a_move_that_the_table_does_not_have_changes_nothing(
    log: list[RunEvent], state: RunState.ValueType, attempt: int
) -> None:
    run = fold(log)
    before = run.SerializeToString(deterministic=True)
    event = RunEvent(seq=99, state_changed=StateChanged(state=state, attempt=attempt))
    try:
        after = apply(run, event)
    except InvalidMove:
        pass
    else:
        assert state in MOVES[run.state]
        assert after.state == state
        assert after.attempt - run.attempt in (0, 1)
    assert before == run.SerializeToString(deterministic=True)
