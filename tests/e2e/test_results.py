"""Results that do not come home, and code that changes while a run waits: ranks 8 and 9 of complaints."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from support.sandbox import Sandbox, desk, sandbox, wait_until

__all__ = ["desk", "sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

# Rank 8: getting results back

MANY = """\
import os
os.chdir(os.environ["POLLINATOR_RESULT"])
for number in range(2000):
    folder = f"many/{number % 7}/{number % 31}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{number}.txt", "w") as file:
        file.write(str(number))
os.symlink("many/0", "inside")
os.symlink("/nowhere/at/all", "dangling")
os.mkdir("empty")
with open("sparse", "wb") as file:
    file.seek(300_000_000)
    file.write(b"end")
with open("n" * 255, "w") as file:
    file.write("long")
with open("run.sh", "w") as file:
    os.fchmod(file.fileno(), 0o755)
os.mkfifo("pipe")
"""


def test_rank_8_results_of_every_kind_come_home_and_what_cannot_is_named(desk: Sandbox) -> None:
    root = desk.project("many", MANY)

    ended = desk.cli("run", "--follow", cwd=root)

    result = root / "cfs/result"
    assert 0 == ended.returncode, ended.stderr
    numbers = {path.name: path.read_text() for path in (result / "many").rglob("*.txt")}
    assert {f"{number}.txt": str(number) for number in range(2000)} == numbers
    assert ("many/0", "/nowhere/at/all") == (os.readlink(result / "inside"), os.readlink(result / "dangling"))
    assert [] == list((result / "empty").iterdir())
    sparse = (result / "sparse").stat()
    assert (300_000_003, True) == (sparse.st_size, sparse.st_blocks * 512 < 10_000_000)
    assert "long" == (result / ("n" * 255)).read_text()
    assert 0o755 == (result / "run.sh").stat().st_mode & 0o777
    assert not (result / "pipe").exists()
    assert b"not collected: result/pipe: no file, folder or link" in ended.stderr


def test_rank_8_no_results_are_fine_too(desk: Sandbox) -> None:
    root = desk.project("none")

    ended = desk.cli("run", "--follow", cwd=root)

    assert (0, False) == (ended.returncode, b"Warning" in ended.stderr), ended.stderr
    assert [] == list((root / "cfs/result").iterdir())


def test_rank_8_what_is_no_folder_any_more_is_not_followed(desk: Sandbox) -> None:
    program = "import os, shutil\nshutil.rmtree('result')\nos.symlink('/etc', 'result')\n"
    root = desk.project("linked", program)

    ended = desk.cli("run", "--follow", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert b"nothing was collected: result is not a folder any more" in ended.stderr
    assert [] == list((root / "cfs/result").iterdir())


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_rank_8_what_cannot_be_read_is_named_and_the_rest_comes_home(desk: Sandbox) -> None:
    program = "import os\nfor name in 'ab':\n    open('result/' + name, 'w')\nos.chmod('result/a', 0)\n"
    root = desk.project("unreadable", program)

    ended = desk.cli("run", "--follow", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert b"not collected: result/a: " in ended.stderr
    assert ["b"] == os.listdir(root / "cfs/result")


def test_rank_8_an_edited_result_stays_whatever_is_fetched_again(desk: Sandbox) -> None:
    root = desk.project("edited", "open('result/r.txt', 'w').write('of the run')\n")
    assert 0 == desk.cli("run", "--follow", cwd=root).returncode
    (root / "cfs/result/r.txt").write_text("edited")

    pulled = desk.cli("pull", "latest", "--json", cwd=root)
    copy = root / "cfs/result" / json.loads(pulled.stdout)["conflicts"][0]
    copy.write_text("edited, too")
    again = desk.cli("pull", "latest", cwd=root)

    assert (0, 0) == (pulled.returncode, again.returncode), again.stderr
    texts = sorted(path.read_text() for path in (root / "cfs/result").iterdir())
    assert ["edited", "edited, too", "of the run"] == texts


WAITS = """\
import os, time
print("up")
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.01)
open(os.environ["POLLINATOR_RESULT"] + "/r.txt", "w").write("made meanwhile")
raise SystemExit(5)
"""


def test_rank_8_results_come_home_after_the_follower_and_the_daemon_were_away(sandbox: Sandbox) -> None:
    root = sandbox.project(program=WAITS)
    go = sandbox.folder / "go"
    with sandbox.start_cli("run", "--follow", "--env", f"GO={go}", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"up\n" == follower.stdout.readline()
        follower.kill()
        follower.communicate()
    sandbox.kill_daemon()
    go.touch()
    wait_until(lambda: not sandbox.pids_of("pollinator.executors.supervise"), "it ended without a daemon")

    ended = sandbox.cli("wait", "latest", cwd=root)

    assert 5 == ended.returncode, ended.stderr
    assert "made meanwhile" == (root / "cfs/result/r.txt").read_text()


@pytest.mark.parametrize("what", ["moved", "deleted"])
def test_rank_8_results_wait_in_the_store_when_the_project_is_gone(desk: Sandbox, what: str) -> None:
    root = desk.project(what, WAITS)
    go = desk.folder / f"go-{what}"
    run = desk.cli("run", "--env", f"GO={go}", cwd=root).stdout.decode().strip()
    root.rename(desk.folder / "elsewhere") if what == "moved" else shutil.rmtree(root)
    go.touch()

    ended = desk.cli("wait", run, cwd=desk.folder)
    shown = desk.show(run, desk.folder)
    pulled = desk.cli("pull", run, f"fetched-{what}", cwd=desk.folder)

    assert 5 == ended.returncode, ended.stderr
    (notice,) = shown["notices"]
    assert "project_missing" == notice["code"]
    assert f"pollinator pull {run} DIR" in notice["text"]
    assert 0 == pulled.returncode, pulled.stderr
    assert "made meanwhile" == (desk.folder / f"fetched-{what}" / "r.txt").read_text()
    assert not root.exists()


# Rank 9: code that changes while the run waits


def test_rank_9_a_run_that_waits_and_its_repetition_run_what_was_there_when_it_was_typed(
    desk: Sandbox,
) -> None:
    root = desk.project(
        "frozen", "import sys, time\nprint(open('data/d').read())\ntime.sleep(float(sys.argv[1]))\n"
    )
    data = root / "cfs/data/d"
    data.write_text("first")
    all_cores = ["--set", "conditions.cpu=1000"]
    with desk.start_cli("run", "--follow", *all_cores, "--", "300", cwd=root) as first:
        assert first.stdout is not None
        assert b"first\n" == first.stdout.readline()
        data.write_text("second")
        waits = desk.cli("run", *all_cores, "--", "0", cwd=root).stdout.decode().strip()
        wait_until(lambda: desk.show(waits, root)["state"] == "queued", "the second run waits")

        data.unlink()
        (root / "cfs/src/main.py").write_text("raise SystemExit('edited while it waited')\n")
        desk.cli("cancel", "latest~1", cwd=root)
        first.communicate(timeout=30)

    ended = desk.cli("logs", "-f", waits, cwd=root)
    repeated = desk.cli("rerun", waits, "--follow", cwd=root)

    assert (0, b"second\n") == (ended.returncode, ended.stdout), ended.stderr
    assert (0, b"second\n") == (repeated.returncode, repeated.stdout), repeated.stderr
    assert b"Warning" not in repeated.stderr
