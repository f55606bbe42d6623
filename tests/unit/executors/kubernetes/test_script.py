"""The supervisor of a node, run by the shells that images have: what it writes down, and what it ends."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.kubernetes.data import OURS
from pollinator.executors.kubernetes.journal import Journal
from pollinator.executors.kubernetes.script import ENTER, Plan, script

SHELLS = [
    pytest.param(argv, id=argv[-1] if len(argv) == 1 else "ash")
    for argv in (["dash"], ["busybox", "sh"], ["bash"])
    if shutil.which(argv[0])
]
pytestmark = [pytest.mark.parametrize("shell", SHELLS), pytest.mark.timeout(60)]

ENDS_ALL = ["env", "--default-signal", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
"""As in a container, where it is process 1, and no signal is ignored as one may be here."""


class Node:
    """What a pod has, in a folder."""

    def __init__(self, folder: Path, shell: Sequence[str]) -> None:
        self.folder = folder
        self.shell = list(shell)
        for name in ("work", "output", "control", "ours"):
            (folder / name).mkdir()
        for name in ("go", "stop", "0"):
            (folder / "control" / name).touch()

    def begin(
        self,
        argv: Sequence[str],
        *,
        alone: bool = True,
        variables: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> subprocess.Popen[bytes]:
        """Start it."""
        places = {name: str(self.folder / name) for name in ("work", "output", "control", "ours")}
        fields: dict[str, Any] = {"nodes": 1, "each": 1, "grace_ms": 500}
        fields |= places
        fields |= changes
        plan = Plan(**fields)
        enter = ENTER.replace(OURS, places["ours"]).replace("/bin/sh", " ".join(self.shell))
        given = {"PATH": os.environ["PATH"], "HOME": f"{places['ours']}/home", **(variables or {})}
        return subprocess.Popen(
            [*(ENDS_ALL if alone else ()), *self.shell, "-c", enter, script(plan), *argv],
            env=given,
            cwd=self.folder / "work",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, argv: Sequence[str], **changes: Any) -> int:
        """Run it to its end; its exit code."""
        return self.begin(argv, **changes).wait(30)

    @property
    def journal(self) -> Journal:
        """What it has written down."""
        read = Journal()
        read.feed((self.folder / "control" / "0").read_bytes())
        return read

    def printed(self, rank: int = 0) -> str:
        """What a rank has printed."""
        path = self.folder / "output" / str(rank)
        return path.read_text() if path.exists() else ""

    def until(self, text: str, rank: int = 0) -> None:
        """Wait until a rank has printed this."""
        deadline = time.monotonic() + 20
        while text not in self.printed(rank):
            assert time.monotonic() < deadline, self.printed(rank)
            time.sleep(0.01)


@pytest.fixture
def node(tmp_path: Path, shell: list[str]) -> Node:
    if os.geteuid() and subprocess.run([*ENDS_ALL, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a namespace for processes")
    return Node(tmp_path, shell)


def test_every_rank_has_its_place_and_prints_to_its_own_file(node: Node) -> None:
    code = node.run(["sh", "-c", "echo $RANK $LOCAL_RANK $POLLINATOR_NODE_RANK; echo again >&2"], each=3)

    assert 0 == code
    assert [f"{rank} {rank} 0\nagain\n" for rank in range(3)] == [node.printed(rank) for rank in range(3)]
    assert (True, True, [True] * 3) == (
        node.journal.running,
        node.journal.done,
        [each.well for each in node.journal.ranks],
    )


def test_it_rests_although_the_path_of_the_run_has_no_sleep(node: Node) -> None:
    node.shell[0] = shutil.which(node.shell[0]) or ""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = node.run(["/bin/sleep", "1.5"], alone=False, variables={"PATH": "/nowhere"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert 0 == code
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_a_rank_that_ends_just_after_it_was_looked_at_has_ended_well(node: Node) -> None:
    work, output, control, ours = (str(node.folder / name) for name in ("work", "output", "control", "ours"))
    plan = Plan(1, 2, work=work, output=output, control=control, ours=ours)
    known = script(plan).removesuffix('_pol_run "$@"\n')
    program = """
_pol_rank 0 0 true & one=$!
_pol_rank 1 1 sleep 0.5 & other=$!
kill() {
    command kill "$@" || return
    while [ "$2" = "$other" ] && { read -r a b c d < "/proc/$2/stat"; } && [ "$c" != Z ]; do :; done
    return 0
}
_pol_left=" $one:0 $other:1" _pol_bad=
sleep 0.2
while [ -n "$_pol_left" ]; do _pol_reap; _pol_rest 0.1; done
"""
    (node.folder / "program").write_text(known + program)
    subprocess.run([*node.shell, str(node.folder / "program")], check=True, timeout=20)

    assert [True, True] == [each.well for each in node.journal.ranks]


@pytest.mark.parametrize("code", [1, 3, 127, 128, 130, 137, 139, 143, 255])
def test_an_exit_code_is_that_whatever_it_looks_like(node: Node, code: int) -> None:
    assert code == node.run(["sh", "-c", f"exit {code}"])
    (end,) = node.journal.ranks

    assert (code, 0, False) == (end.exit_code, end.signal, end.asked)


@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 10, 11, 13, 15])
def test_a_signal_is_told_from_an_exit_code(node: Node, number: int) -> None:
    node.run(["sh", "-c", f"kill -{number} $$; sleep 5"])
    (end,) = node.journal.ranks

    if number in (2, 3) and not end.signal:
        pytest.skip("this env cannot undo that the shell has background programs ignore it")
    assert (128 + number, number) == (end.exit_code, end.signal)


def test_one_that_fails_ends_the_others_which_may_say_a_last_word(node: Node) -> None:
    program = (
        "if [ $RANK = 1 ]; then sleep 0.3; exit 5; fi\n"
        "trap 'echo asked; exit 0' TERM\nwhile :; do sleep 0.05; done"
    )
    code = node.run(["sh", "-c", program], each=3)
    first = node.journal.first_failed

    assert 5 == code
    assert first is not None
    assert (1, 5) == (first.rank, first.exit_code)
    assert "rank" == node.journal.ending
    assert ["asked", "asked"] == [node.printed(rank).splitlines()[-1] for rank in (0, 2)]


def test_what_ignores_being_asked_is_killed_and_strays_with_it(node: Node) -> None:
    program = (
        "trap '' TERM; (sleep 0.2; while :; do echo stray >> stray; sleep 0.05; done) & echo up; sleep 50"
    )
    began = time.monotonic()
    code = node.run(["sh", "-c", program], walltime_ms=800)
    size = (node.folder / "work" / "stray").stat().st_size
    time.sleep(0.3)

    assert 143 == code
    assert "time" == node.journal.ending
    assert 0.8 < time.monotonic() - began < 10
    assert size == (node.folder / "work" / "stray").stat().st_size


def test_a_word_in_a_file_ends_the_ranks(node: Node) -> None:
    running = node.begin(["sh", "-c", "echo up; sleep 50"])
    node.until("up")
    (node.folder / "control" / "stop").write_text("stop\n")

    assert 143 == running.wait(20)
    assert ("stop", True) == (node.journal.ending, node.journal.done)


def test_sigterm_for_the_pod_ends_the_ranks_and_what_they_say_is_kept(node: Node) -> None:
    running = node.begin(["sh", "-c", "trap 'echo last; exit 0' TERM; echo up; while :; do sleep 0.05; done"])
    node.until("up")
    # The parent of the namespace is not process 1 in it.
    (first,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(first), 15)

    assert 143 == running.wait(20)
    assert ("term", True) == (node.journal.ending, node.journal.done)
    assert "last" in node.printed()


def test_a_warning_comes_before_the_end(node: Node) -> None:
    program = "trap 'echo warned; exit 0' USR1; while :; do sleep 0.05; done"
    code = node.run(["sh", "-c", program], walltime_ms=25_000, warning="USR1@24")

    assert 0 == code
    assert "warned\n" == node.printed()


def test_init_runs_once_and_its_failure_starts_no_rank(node: Node) -> None:
    code = node.run(["sh", "-c", "echo ran"], each=2, init="echo once; exit 9")
    first = node.journal.first_failed

    assert 9 == code
    assert ("once\n", "") == (node.printed(0), node.printed(1))
    assert node.journal.initialising
    assert first is not None
    assert 9 == first.exit_code


@pytest.mark.parametrize(
    ("program", "why"), [("no-such-program", "program"), ("./none", "program"), ("./here", "mode")]
)
def test_a_program_that_cannot_be_started_is_told_before_any_rank(node: Node, program: str, why: str) -> None:
    (node.folder / "work" / "here").write_text("#!/bin/sh\n")

    assert 127 == node.run([program])
    assert (why, [], True) == (node.journal.refused, node.journal.ranks, node.journal.done)
    assert "" == node.printed()


def test_arguments_arrive_as_they_are(node: Node) -> None:
    odd = ["a b", "", "$HOME", "$(date)", "*", "it's", '"', "\\n", "two\nlines", "--x=é", "-1"]
    node.run(["sh", "-c", 'for each in "$@"; do printf "%s|" "$each"; done', "name", *odd])

    assert "".join(f"{each}|" for each in odd) == node.printed()


def test_variables_arrive_as_they_are_and_none_of_ours(node: Node) -> None:
    given = {"GREETING": "hej då\n$HOME", "EMPTY": "", "RANKS": "7", "IFS": ":"}
    node.run(["env"], variables=given)
    lines = node.printed().splitlines()

    assert {"GREETING=hej då", "$HOME", "EMPTY=", "RANKS=7", "RANK=0"} <= set(lines)
    assert [] == [line for line in lines if line.startswith("_pol_")]


def test_a_second_supervisor_of_a_node_does_nothing(node: Node) -> None:
    node.run(["sh", "-c", "echo once"])

    assert 114 == node.run(["sh", "-c", "echo twice"])
    assert "once\n" == node.printed()


def test_nodes_begin_together_once_they_are_told(node: Node) -> None:
    running = node.begin(["sh", "-c", "echo $POLLINATOR_NODELIST at $MASTER_ADDR"], nodes=2)
    time.sleep(0.3)
    before = node.journal.running
    (node.folder / "control" / "go").write_text("n1,n2 10.0.0.7\n")

    assert 0 == running.wait(20)
    assert not before
    assert "n1,n2 at 10.0.0.7\n" == node.printed()


def test_nobody_waits_for_the_others_for_ever(node: Node) -> None:
    assert 115 == node.run(["true"], nodes=2, peers_s=1)
    assert ("peers", True) == (node.journal.ending, node.journal.done)


def test_where_it_is_not_process_1_it_ends_its_own_ranks_alone(node: Node) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert 3 == node.run(["sh", "-c", "[ $RANK = 0 ] && exit 3; exec sleep 50"], each=2, alone=False)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
