"""``pollinator dev``: a run at every save, one at a time, and never one of what was not saved last."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from support.looping import STAYS, looping, runs, save, states
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SAVES = 100


def in_store(sandbox: Sandbox, root: Path) -> bool:
    """All that was written has been read."""
    return sandbox.cli("sync", cwd=root).returncode == 0


def ranks(sandbox: Sandbox) -> int:
    """How many processes run the program."""
    return sum(b"python3" in line and b"main.py" in line for line in sandbox.command_lines())


def test_a_save_is_run_and_what_ended_is_told(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print('one')\n")
    main = root / "cfs/src/main.py"
    with looping(sandbox, root) as loop:
        loop.said("exit 0")
        save(main, "import sys\nprint('two')\nsys.exit(3)\n")
        loop.said("exit 3")
        code = loop.interrupt()

    assert ("one\ntwo\n", 130) == (loop.out, code)
    lines = loop.err.splitlines()
    assert "Watching cfs/src; a save runs it again." == lines[0]
    assert re.fullmatch(r"--- \d\d:\d\d:\d\d  run 1 on local  as it is now", lines[1])
    assert re.fullmatch(r"exit 0 after \d.*s  ProcessID=\w{26}", lines[2])
    assert re.fullmatch(r"--- \d\d:\d\d:\d\d  run 2 on local  cfs/src/main.py", lines[3])
    assert re.fullmatch(r"exit 3 after \d.*s  ProcessID=\w{26}", lines[4])
    assert 5 == len(lines)


def test_a_save_ends_the_run_before_it(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=1))
    with looping(sandbox, root) as loop:
        loop.printed("version 1\n")
        save(root / "cfs/src/main.py", STAYS.format(version=2))
        loop.printed("version 2\n")
        code = loop.interrupt()

    assert (1, 130) == (ranks(sandbox), code)
    listed = runs(sandbox, root)
    assert [("running", False), ("cancelled", True)] == [(run["state"], run["superseded"]) for run in listed]
    assert re.search(r"cancelled +superseded", sandbox.cli("list", cwd=root).stdout.decode())
    assert "superseded after " in loop.err
    newest = listed[0]["id"]
    assert f"Detached; the run goes on  ProcessID={newest}" in loop.err


def test_a_hundred_quick_saves_end_in_one_run_of_the_last(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=0))
    main = root / "cfs/src/main.py"
    with looping(sandbox, root) as loop:
        loop.printed("version 0\n")
        for version in range(1, SAVES + 1):
            # Some editors write in place, some replace the file, and some people type fast.
            (save if version % 3 else Path.write_text)(main, STAYS.format(version=version))
            if version % 10 == 0:
                assert in_store(sandbox, root)
        loop.printed(f"version {SAVES}\n")
        loop.rest()
        before = states(sandbox, root)
        save(main, "print('the end')\n")
        loop.said("exit 0")

        assert ["running", *["cancelled"] * (len(before) - 1)] == before
        assert ["succeeded", *["cancelled"] * len(before)] == states(sandbox, root)
    assert 1 == loop.out.count(f"version {SAVES}\n")
    assert loop.out.endswith(f"version {SAVES}\nthe end\n")
    assert 0 == ranks(sandbox)


def test_a_run_that_is_kept_ends_by_itself_and_then_the_newest_files_are_run(sandbox: Sandbox) -> None:
    waits = """\
import os, time
print("{name}", flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.01)
"""
    root = sandbox.project(program=waits.format(name="one"))
    main, go = root / "cfs/src/main.py", sandbox.folder / "go"
    with looping(sandbox, root, "--keep", "--env", f"GO={go}") as loop:
        loop.printed("one\n")
        for name in ("two", "three"):
            save(main, waits.format(name=name))
            assert in_store(sandbox, root)
        loop.rest()
        assert ["running"] == states(sandbox, root)
        go.touch()
        loop.said("exit 0", times=2)

    assert "one\nthree\n" == loop.out
    assert ["succeeded", "succeeded"] == states(sandbox, root)


def test_the_same_content_starts_nothing_and_data_only_if_it_is_wished(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print(open('data/x').read())\n")
    (root / "cfs/data/x").write_text("one")
    main = root / "cfs/src/main.py"
    with looping(sandbox, root) as loop:
        loop.said("exit 0")
        save(main, main.read_text())
        save(root / "cfs/data/x", "two")
        assert in_store(sandbox, root)
        loop.rest()
        save(main, main.read_text() + "\n")
        loop.said("exit 0", times=2)
    assert "one\ntwo\n" == loop.out
    with looping(sandbox, root, "--data") as loop:
        loop.said("exit 0")
        save(root / "cfs/data/x", "three")
        loop.said("exit 0", times=2)

    assert "two\nthree\n" == loop.out
    assert "Watching cfs/src and cfs/data" in loop.err
    assert "  cfs/data/x\n" in loop.err


def test_what_project_yaml_lacks_is_told_and_mending_it_is_a_save(sandbox: Sandbox) -> None:
    root = sandbox.project()
    spec = root / "project.yaml"
    good = spec.read_text()
    with looping(sandbox, root) as loop:
        loop.said("exit 0")
        save(spec, good.replace("source:", "sauce:"))
        loop.said("project.yaml:9:3")
        spec.write_text(good)
        loop.said("exit 0", times=2)

    assert "hello\nhello\n" == loop.out
    assert -signal.SIGKILL == loop.process.returncode, "it went on until it was killed"


def test_a_failed_run_names_the_line_in_the_sources(sandbox: Sandbox) -> None:
    root = sandbox.project(program="\nraise ValueError('not so')\n")
    with looping(sandbox, root) as loop:
        loop.said("cfs/src/main.py:2: error: ValueError: not so\n")

        assert loop.err.index("exit 1 after") < loop.err.index("cfs/src/main.py:2:")


def test_what_does_not_pass_the_smoke_test_is_not_run(sandbox: Sandbox) -> None:
    root = sandbox.project(program="import sys\nprint('big', *sys.argv[1:])\n")
    check = root / "cfs/src/check.py"
    check.write_text("raise SystemExit(5)\n")
    smoke = ("--smoke", "python3 src/check.py", "--set", "conditions.processesPerNode=2")
    with looping(sandbox, root, *smoke, "--", "--steps") as loop:
        loop.said("exit 5")
        loop.rest()
        assert ["failed"] == states(sandbox, root)
        save(check, "print('small')\n")
        loop.said("exit 0", times=2)

    first, *others = loop.out.splitlines()
    assert ("small", ["[0] big --steps", "[1] big --steps"]) == (first, sorted(others))
    assert "  smoke 1 on local  as it is now\n" in loop.err
    assert "  smoke 2 on local  cfs/src/check.py\n" in loop.err
    assert "  run 3 on local  smoke passed\n" in loop.err
    assert [False, True, True] == [run["smoke"] for run in runs(sandbox, root)]
    assert re.search(r"failed +smoke, exit 5", sandbox.cli("list", cwd=root).stdout.decode())


TICKS = """\
import os, time
for number in range(200):
    print("tick", number, flush=True)
    time.sleep(0.01)
print("done", flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.01)
"""


def test_when_the_daemon_is_killed_the_view_goes_on_without_gap_or_repeat(sandbox: Sandbox) -> None:
    root = sandbox.project(program=TICKS)
    go = sandbox.folder / "go"
    with looping(sandbox, root, "--env", f"GO={go}") as loop:
        for tick in ("tick 20\n", "tick 100\n"):
            loop.printed(tick)
            sandbox.kill_daemon()
        loop.printed("done\n")
        go.touch()
        loop.said("exit 0")
        assert "".join(f"tick {number}\n" for number in range(200)) + "done\n" == loop.out
        assert ["succeeded"] == states(sandbox, root)
        save(root / "cfs/src/main.py", "print('after')\n")
        loop.printed("after\n")


def test_what_is_saved_while_there_is_no_daemon_is_run(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=1))
    with looping(sandbox, root) as loop:
        loop.printed("version 1\n")
        os.kill(sandbox.daemon_pid(), signal.SIGKILL)
        save(root / "cfs/src/main.py", "print('version 2')\n")
        loop.said("exit 0")
        loop.rest()

    assert "version 1\nversion 2\n" == loop.out
    assert ["succeeded", "cancelled"] == states(sandbox, root)


def test_a_change_of_project_yaml_while_there_is_no_daemon_is_run(sandbox: Sandbox) -> None:
    root = sandbox.project(program="import sys, time\nprint(*sys.argv, flush=True)\ntime.sleep(600)\n")
    spec = root / "project.yaml"
    with looping(sandbox, root, "--set", "conditions.mem=300Mi", "--", "last") as loop:
        loop.printed("last\n")
        os.kill(sandbox.daemon_pid(), signal.SIGKILL)
        save(spec, spec.read_text() + "  args: [first]\n")
        loop.printed("first last\n")
    assert "  project.yaml\n" in loop.err


def test_a_daemon_that_comes_back_to_the_same_files_starts_nothing(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=1))
    with looping(sandbox, root, "--set", "conditions.mem=300Mi", "--on", "local") as loop:
        loop.printed("version 1\n")
        sandbox.kill_daemon()
        wait_until(lambda: sandbox.daemon_pid() > 0 and sandbox.socket.exists(), "it is back")
        assert in_store(sandbox, root)
        loop.rest()

        assert ["running"] == states(sandbox, root)
    assert "version 1\n" == loop.out


def test_programs_get_json_lines(sandbox: Sandbox) -> None:
    root = sandbox.project()
    with looping(sandbox, root, "--json") as loop:
        loop.printed('{"run": ')
        save(root / "cfs/src/main.py", "print('again')\n")
        loop.printed('{"run": ', times=2)
    told = [json.loads(line) for line in loop.out.splitlines()]

    started = [each["started"] for each in told if "started" in each]
    assert [{"paths": [], "count": 0}, {"paths": ["cfs/src/main.py"], "count": 1}] == [
        each["edits"] for each in started
    ]
    assert ["hello\n", "again\n"] == [each["output"]["text"] for each in told if "output" in each]
    ended = [each["run"] for each in told if "run" in each]
    assert [each["run"]["id"] for each in started] == [each["id"] for each in ended]
    assert ["succeeded", "succeeded"] == [each["state"] for each in ended]
