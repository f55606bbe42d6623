"""What users of such tools complain about, by the rank of the complaint; 8 and 9 are in test_results."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keys import namespace
from pollinator.chunks.read import SnapshotReader
from pollinator.v1.tree_pb2 import SnapshotRef
from support.sandbox import BIN, Sandbox, desk, gone, sandbox, wait_until

__all__ = ["desk", "sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LISTING = """\
import os
for folder, _, files in sorted(os.walk("src")):
    for name in sorted(files):
        print(os.path.join(folder, name))
"""


# Rank 2: surprises about what is uploaded and what is ignored


def test_rank_2_only_what_is_not_ignored_is_sent(desk: Sandbox) -> None:
    root = desk.project("ignoring", LISTING)
    for name in (
        "keep.txt",
        "drop.log",
        "important.log",
        ".git/HEAD",
        "deep/.git/x",
        "deep/__pycache__/a.pyc",
    ):
        (root / "cfs/src" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cfs/src" / name).write_text("x")
    (root / ".pollinatorignore").write_text("*.log\n!important.log\n")

    ended = desk.cli("run", "--follow", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert ["src/important.log", "src/keep.txt", "src/main.py"] == ended.stdout.decode().split()


@pytest.mark.parametrize("checkout", ["project", "src"])
def test_rank_2_the_commit_is_recorded_though_git_itself_is_not_sent(desk: Sandbox, checkout: str) -> None:
    root = desk.project(f"versioned-{checkout}")
    place = root if checkout == "project" else root / "cfs/src"
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(place)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout

    run = desk.show(desk.cli("run", cwd=root).stdout.decode().strip(), root)

    store = FolderStore(desk.state / "store" / namespace(root.name))
    ref = SnapshotRef(key=run["snapshot"]["key"], digest=bytes.fromhex(run["snapshot"]["digest"]))
    assert commit.strip() == SnapshotReader(store).open(ref).git_commit
    assert commit.strip() == run["git_commit"]
    again = desk.show(desk.cli("rerun", "latest", cwd=root).stdout.decode().strip(), root)
    assert commit.strip() == again["git_commit"]
    desk.cli("wait", "latest", "latest~1", cwd=root)


# Rank 4: logs that stop, vanish or come twice

BURST = """\
import hashlib, os, random
random.seed(1)
data = random.randbytes(10_000_000) + b"\\n" + b"x" * 3_000_000 + b"\\n\\xff\\xfe no newline at the end"
os.write(1, data[:1]); done = 1
while done < len(data):
    done += os.write(1, data[done:])
"""


def burst() -> bytes:
    """What that prints."""
    generator = random.Random(1)
    return generator.randbytes(10_000_000) + b"\n" + b"x" * 3_000_000 + b"\n\xff\xfe no newline at the end"


def test_rank_4_a_burst_of_any_bytes_and_any_lines_arrives_as_it_was_printed(desk: Sandbox) -> None:
    root = desk.project("burst", BURST)

    followed = desk.cli("run", "--follow", cwd=root)
    again = desk.cli("logs", "latest", cwd=root)

    assert 0 == followed.returncode, followed.stderr
    expected = hashlib.sha256(burst()).hexdigest()
    assert [expected, expected] == [hashlib.sha256(each.stdout).hexdigest() for each in (followed, again)]


RANKS = 24
NUMBERED = """\
import os
for number in range(300):
    print(os.environ["RANK"], number)
"""


def test_rank_4_the_lines_of_many_ranks_are_all_there_in_order_for_each(desk: Sandbox) -> None:
    root = desk.project("ranks", NUMBERED)

    ended = desk.cli("run", "--follow", "--set", f"conditions.processesPerNode={RANKS}", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    lines: dict[str, list[str]] = {}
    for line in ended.stdout.decode().splitlines():
        label, rank, number = line.replace("[", "").split()
        assert label == f"{rank}]"
        lines.setdefault(rank, []).append(number)
    expected = [str(number) for number in range(300)]
    assert {str(rank): expected for rank in range(RANKS)} == lines
    assert b"7 0\n7 1\n" == desk.cli("logs", "--rank", "7", "latest", cwd=root).stdout[:8]


def test_rank_4_followers_that_come_and_go_meet_no_gap_and_no_repeat(desk: Sandbox) -> None:
    root = desk.project(
        "followers", "import time\nfor n in range(150):\n    print('line', n)\n    time.sleep(0.01)\n"
    )
    whole = b"".join(b"line %d\n" % number for number in range(150))
    submitted = desk.cli("run", cwd=root).stdout.decode().strip()
    seen: list[bytes] = []
    for _ in range(3):
        with desk.start_cli("logs", "-f", submitted, cwd=root) as follower:
            assert follower.stdout is not None
            seen.append(follower.stdout.readline())
            follower.kill()
            seen[-1] += follower.communicate()[0]

    last = desk.cli("logs", "-f", submitted, cwd=root)

    assert all(whole.startswith(each) for each in seen), seen
    assert (0, whole) == (last.returncode, last.stdout), last.stderr
    assert whole[-27:] == desk.cli("logs", "--tail", "3", submitted, cwd=root).stdout


# Rank 5: orphans, and cancels that do not cancel

LEAVES_PROCESSES = """\
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        child = subprocess.Popen(["sleep", "300"], env={}, start_new_session=True)
        os.write(writer, f"{os.getpid()} {child.pid}".encode())
        time.sleep(300)
    os._exit(0)
os.wait()
print(os.read(reader, 100).decode())
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize(("seconds", "cancels", "code"), [("0", 0, 0), ("300", 2, 103)])
def test_rank_5_what_a_job_has_left_in_other_sessions_is_gone_after_its_end(
    desk: Sandbox, seconds: str, cancels: int, code: int
) -> None:
    root = desk.project(f"orphans-{cancels}", LEAVES_PROCESSES)
    with desk.start_cli("run", "--follow", "--", seconds, cwd=root) as follower:
        assert follower.stdout is not None
        left = [int(word) for word in follower.stdout.readline().split()]

        cancelled = [desk.cli("cancel", "latest", cwd=root).returncode for _ in range(cancels)]
        follower.communicate(timeout=30)

    assert 2 == len(left)
    assert [0] * cancels == cancelled
    assert code == follower.returncode
    assert [True, True] == [gone(pid) for pid in left]


def test_rank_5_a_run_that_waits_is_cancelled_at_once_and_never_starts(desk: Sandbox) -> None:
    root = desk.project("waiting", "import sys, time\nprint('up')\ntime.sleep(float(sys.argv[1]))\n")
    all_cores = ["--set", "conditions.cpu=1000"]
    with desk.start_cli("run", "--follow", *all_cores, "--", "300", cwd=root) as first:
        assert first.stdout is not None
        assert b"up\n" == first.stdout.readline()
        waits = desk.cli("run", *all_cores, "--", "0", cwd=root).stdout.decode().strip()
        wait_until(lambda: desk.show(waits, root)["state"] == "queued", "the second run waits")

        cancelled = desk.cli("cancel", "--wait", waits, cwd=root)
        again = desk.cli("cancel", waits, cwd=root)

        desk.cli("cancel", "--all", cwd=root)
        first.communicate(timeout=30)
    assert (0, 0) == (cancelled.returncode, again.returncode), cancelled.stderr
    assert b"had ended already" in again.stderr
    shown = desk.show(waits, root)
    assert ("cancelled", None) == (shown["state"], shown["start_time"])
    assert b"" == desk.cli("logs", waits, cwd=root).stdout


def test_rank_5_a_run_can_be_cancelled_before_its_executor_is_up(sandbox: Sandbox) -> None:
    root = sandbox.project()
    sandbox.state.mkdir(parents=True)
    (sandbox.state / "executors").write_text("in the way")
    submitted = sandbox.cli("run", cwd=root)
    waits = sandbox.show("latest", root)

    cancelled = sandbox.cli("cancel", "--wait", "latest", cwd=root)

    assert 0 == submitted.returncode, submitted.stderr
    assert "launching" == waits["state"]
    assert 0 == cancelled.returncode, cancelled.stderr
    assert "cancelled" == sandbox.show("latest", root)["state"]
    (sandbox.state / "executors").unlink()
    assert b"hello\n" == sandbox.cli("run", "--follow", cwd=root).stdout


def test_rank_5_what_comes_before_the_command_is_held_to_the_time_limit_as_well(desk: Sandbox) -> None:
    root = desk.project("init")
    limits = ["--set", "environment.init-cmd=sleep 300", "--set", "conditions.walltime=1"]

    ended = desk.cli("run", "--follow", *limits, cwd=root)

    assert (124, b"") == (ended.returncode, ended.stdout), ended.stderr


def test_rank_5_exit_codes_are_known_also_where_the_shell_ignores_its_children(sandbox: Sandbox) -> None:
    root = sandbox.project(program="raise SystemExit(3)\n")
    ignoring = f"trap '' CHLD; exec {BIN}/pollinator run --follow"

    ended = subprocess.run(
        ["sh", "-c", ignoring], cwd=root, env=sandbox.env, capture_output=True, timeout=50, check=False
    )

    assert 3 == ended.returncode, ended.stderr


# Rank 11: configuration errors that are found late or explained badly


def edited(old: str, new: str) -> Callable[[Path], object]:
    """Replaces something in project.yaml."""

    def edit(root: Path) -> None:
        spec = root / "project.yaml"
        text = spec.read_text()
        assert old in text
        spec.write_text(text.replace(old, new))

    return edit


def folder_instead(root: Path) -> None:
    (root / "project.yaml").unlink()
    (root / "project.yaml").mkdir()


MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a typo in a key": (edited("walltime:", "waltime:"), ["project.yaml:6:3", "did you mean 'walltime'?"]),
    "a key in the wrong place": (edited("projectname", "cpu: 1\nprojectname"), ["project.yaml:1:1", "'cpu'"]),
    "a wrong unit": (edited("200Mi", "200Potatoes"), ["project.yaml:5:8", "1000Mi or 4Gi"]),
    "a wrong duration": (edited("120", "soon"), ["project.yaml:6:13", "not a duration"]),
    "an unknown executor": (edited("[local]", "[lumi]"), ["no executor 'lumi'", "known are: local"]),
    "a file without a word": (lambda root: (root / "project.yaml").write_text(""), ["project.yaml:1:1"]),
    "no YAML": (edited("conditions:", "conditions: ["), ["project.yaml:"]),
    "a folder in place of the file": (folder_instead, ["project.yaml", "pollinator new"]),
    "no program": (lambda root: (root / "cfs/src/main.py").unlink(), ["there is no cfs/src/main.py"]),
    "a program that is ignored": (
        lambda root: (root / ".pollinatorignore").write_text("*.py\n"),
        ["cfs/src/main.py is left out by an ignore rule"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rank_11_a_mistake_is_told_with_its_place_before_a_run_is_made(desk: Sandbox, mistake: str) -> None:
    make, words = MISTAKES[mistake]
    root = desk.project(mistake.replace(" ", "-"))
    before = desk.cli("list", "--all", "--json", cwd=desk.folder).stdout
    make(root)

    refused = desk.cli("run", "--follow", cwd=root)

    assert 2 == refused.returncode, refused.stderr
    assert [] == [word for word in words if word not in refused.stderr.decode()], refused.stderr
    assert b"" == refused.stdout
    assert before == desk.cli("list", "--all", "--json", cwd=desk.folder).stdout


@pytest.mark.parametrize("wish", ["conditions.memory=4Gi", "conditions.mem=lots", "conditions.mem"])
def test_rank_11_a_wish_that_cannot_be_meant_is_told_as_well(desk: Sandbox, wish: str) -> None:
    root = desk.project(f"wish-{len(wish)}")

    refused = desk.cli("run", "--set", wish, cwd=root)

    assert 2 == refused.returncode, refused.stderr
    assert b"conditions.mem" in refused.stderr


# Rank 16: limits of the watcher


def test_rank_16_too_few_watches_are_told_with_the_sysctl_and_nothing_is_missed(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print(open('src/deep/er/token').read())\n")
    (root / "cfs/src/deep/er").mkdir(parents=True)
    token = root / "cfs/src/deep/er/token"
    token.write_text("one")
    limited = f"echo 3 > /proc/sys/user/max_inotify_watches && exec {BIN}/pollinator daemon start"
    started = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", limited], env=sandbox.env, capture_output=True, timeout=50, check=False
    )
    if started.returncode and b"Daemon" not in started.stderr:
        pytest.skip(f"no user namespaces here: {started.stderr.decode().strip()}")

    first = sandbox.cli("run", "--follow", cwd=root)
    token.write_text("two")
    second = sandbox.cli("run", "--follow", cwd=root)
    status = sandbox.cli("status", cwd=root)

    assert (0, b"one\n") == (first.returncode, first.stdout), first.stderr
    assert (0, b"two\n") == (second.returncode, second.stdout), second.stderr
    assert b"degraded" in status.stdout
    assert b"fs.inotify.max_user_watches" in status.stdout


def test_rank_16_where_polling_is_wished_status_says_so(sandbox: Sandbox) -> None:
    root = sandbox.project()

    ended = sandbox.cli("run", "--follow", cwd=root, env={"POLLINATOR_WATCH": "poll"})
    status = json.loads(sandbox.cli("status", "--json", cwd=root).stdout)

    assert 0 == ended.returncode, ended.stderr
    assert ("poll", True) == (
        status["projects"][0]["watching"],
        "POLLINATOR_WATCH" in status["projects"][0]["degraded"],
    )


def test_a_run_of_a_project_whose_folder_is_gone_says_so_and_not_that_the_program_is(desk: Sandbox) -> None:
    root = desk.project()
    assert 0 == desk.cli("sync", cwd=root).returncode
    (root / "cfs").rename(desk.folder / "away")
    refused = desk.cli("run", cwd=root)

    assert 100 == refused.returncode, refused.stderr
    assert f"{root}/cfs is gone".encode() in refused.stderr
