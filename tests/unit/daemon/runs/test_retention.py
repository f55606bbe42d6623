"""Which runs keep their files."""

from __future__ import annotations

from pollinator.daemon.runs.retention import kept_runs, make_ref
from pollinator.v1.keeping_pb2 import KeepReason
from pollinator.v1.run_pb2 import Run, RunState
from pollinator.v1.tree_pb2 import SnapshotRef

ENDED = RunState.RUN_STATE_SUCCEEDED
ACTIVE, RECENT, PINNED = (
    KeepReason.KEEP_REASON_ACTIVE,
    KeepReason.KEEP_REASON_RECENT,
    KeepReason.KEEP_REASON_PINNED,
)


def run(name: str, day: int, state: RunState.ValueType = ENDED) -> Run:
    made = Run(id=name, state=state, snapshot=SnapshotRef(key=f"s/{name}"))
    made.accept_time.FromSeconds(day * 86400)
    return made


def kept(runs: list[Run], *pinned: str, newest: int = 1, since_day: int = 100) -> dict[str, int]:
    found = kept_runs(runs, set(pinned), newest=newest, younger_than_ns=since_day * 86400 * 10**9)
    return {each.id: why for each, why in found}


def test_the_newest_are_kept_whatever_their_age() -> None:
    assert {"c": RECENT, "b": RECENT} == kept([run("c", 3), run("b", 2), run("a", 1)], newest=2)


def test_the_young_are_kept_however_many_there_are() -> None:
    assert {"c": RECENT, "b": RECENT} == kept([run("c", 3), run("b", 2), run("a", 1)], since_day=2)


def test_runs_that_have_not_ended_are_kept_and_do_not_count_among_the_newest() -> None:
    runs = [run("c", 3), run("b", 2, RunState.RUN_STATE_RUNNING), run("a", 1)]

    assert {"c": RECENT, "b": ACTIVE} == kept(runs)


def test_pinned_runs_are_kept() -> None:
    assert {"c": RECENT, "a": PINNED} == kept([run("c", 3), run("b", 2), run("a", 1)], "a")


def test_a_ref_names_files_and_results_in_a_fixed_order() -> None:
    first, second = run("b", 2), run("a", 1)
    first.result.key = "s/0"
    head = SnapshotRef(key="s/z")
    ref = make_ref(head, ["p/2", "p/1"], 7, [(first, RECENT), (second, PINNED)])

    assert ["s/0", "s/a", "s/b", "s/z"] == [each.snapshot.key for each in ref.kept]
    assert ["b", "a", "b", ""] == [each.run_id for each in ref.kept]
    assert (["p/1", "p/2"], 7) == (list(ref.packs), ref.view_s)
