"""What editors are told on the command line: places in the sources, and one project with its runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.sandbox import BIN, Sandbox, desk, sandbox, wait_until

__all__ = ["desk", "sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FAILS = "def work():\n    raise ValueError('no such case')\n\nwork()\n"


@pytest.fixture
def failed(desk: Sandbox) -> Path:
    """A project whose newest run has failed in line 2, called in line 4."""
    root = desk.folder / "failed"
    if not root.exists():
        desk.project("failed", FAILS)
        assert 1 == desk.cli("run", "--follow", cwd=root).returncode
    return root


def test_a_failed_run_names_the_places_in_its_sources(desk: Sandbox, failed: Path) -> None:
    told = desk.cli("problems", cwd=failed)
    below = desk.cli("problems", cwd=failed / "cfs")
    data = desk.cli("problems", "--json", cwd=failed)

    assert (1, b"") == (told.returncode, told.stderr)
    first = told.stdout.decode().splitlines()[0]
    assert first.startswith("cfs/src/main.py:2: error: ")
    assert "no such case" in first
    assert below.stdout.startswith(b"src/main.py:2: error: ")
    place: dict[str, Any] = json.loads(data.stdout.splitlines()[0])
    assert (str(failed), "cfs/src/main.py", 2) == (place["root"], place["path"], place["line"])
    assert desk.show("latest", failed)["id"] == place["run_id"]


def test_a_run_that_is_followed_tells_them_at_its_end(desk: Sandbox, failed: Path) -> None:
    run = desk.cli("rerun", "latest", "--follow", "--problems", cwd=failed)
    logs = desk.cli("logs", "--follow", "--problems", "--json", cwd=failed)
    without = desk.cli("logs", "--follow", cwd=failed)

    places = [line.split(" ")[0:2] for line in run.stderr.decode().splitlines()[-2:]]
    assert [["cfs/src/main.py:2:", "error:"], ["cfs/src/main.py:4:", "note:"]] == places
    kinds = [next(iter(json.loads(line))) for line in logs.stdout.splitlines()]
    assert ["run", "problem", "problem"] == kinds[-3:]
    assert b"cfs/src" not in without.stderr
    assert {1} == {each.returncode for each in (run, logs, without)}


def test_a_run_that_went_well_has_no_problems(desk: Sandbox) -> None:
    root = desk.project("well")
    assert 0 == desk.cli("run", "--follow", "--problems", cwd=root).returncode

    run = desk.show("latest", root)["id"]
    here, elsewhere = (desk.cli("problems", cwd=place) for place in (root, desk.folder))

    said = f"No problems: run {run} of well has not failed (succeeded).\n"
    for told in (here, elsewhere):
        assert (0, b"", said) == (told.returncode, told.stdout, told.stderr.decode())


def test_a_failed_run_without_places_is_told_as_such(desk: Sandbox) -> None:
    root = desk.project("quiet", "raise SystemExit(4)\n")
    assert 4 == desk.cli("run", "--follow", cwd=root).returncode

    told = desk.cli("problems", cwd=root)

    assert (0, b"") == (told.returncode, told.stdout)
    assert b" of quiet failed, and its output names no place in the sources.\n" in told.stderr


def test_where_there_is_no_run_nothing_is_said_to_be_well(sandbox: Sandbox) -> None:
    told, shown = (sandbox.cli(command, cwd=sandbox.folder) for command in ("problems", "show"))

    assert shown.returncode == told.returncode != 0
    assert shown.stderr == told.stderr
    assert b"no run" in told.stderr


def test_everything_that_is_wrong_in_project_yaml_is_told_at_once(desk: Sandbox) -> None:
    root = desk.project("wrong")
    spec = root / "project.yaml"
    good = spec.read_text()
    spec.write_text(good.replace("walltime", "wallltime").replace("200Mi", "much"))

    told = desk.cli("problems", "--spec", cwd=root)
    typed = subprocess.run(
        [BIN / "pollinator", "problems", "--spec", "--stdin"],
        cwd=root,
        env=desk.env,
        input=good.encode(),
        capture_output=True,
        timeout=50,
        check=False,
    )

    lines = [line.split(":")[0:2] for line in told.stdout.decode().splitlines() if "error:" in line]
    assert [["project.yaml", "5"], ["project.yaml", "6"]] == lines
    assert (1, 0, b"") == (told.returncode, typed.returncode, typed.stdout)
    assert b"No problems in the text on stdin.\n" == typed.stderr
    spec.write_text(good)
    assert f"No problems in {spec}.\n".encode() == desk.cli("problems", "--spec", cwd=root).stderr


def test_options_that_do_not_go_together_are_refused(desk: Sandbox, failed: Path) -> None:
    alone = desk.cli("problems", "--stdin", cwd=failed)
    both = desk.cli("problems", "--spec", "01abc", cwd=failed)
    once = desk.cli("status", "--project", str(failed), cwd=failed)

    assert {2} == {alone.returncode, both.returncode, once.returncode}
    assert b"--project goes with --watch" in once.stderr


def test_one_project_is_followed_with_its_runs_while_the_daemon_is_killed(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
    log = sandbox.folder / "state"
    watch = ["status", "--watch", "--json", "--project", str(root)]
    with log.open("wb") as output, sandbox.start_cli(*watch, cwd=root) as watching:
        assert watching.stdout is not None
        with subprocess.Popen(["cat"], stdin=watching.stdout, stdout=output) as copying:
            try:
                wait_until(lambda: b"\n" in log.read_bytes(), "the project is told")
                first = started_and_told(sandbox, root, log)
                sandbox.kill_daemon()
                second = started_and_told(sandbox, root, log)
            finally:
                watching.kill()
                copying.wait(10)

    messages = [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]
    assert messages[0]["complete"]
    assert {str(root)} == {each["project"]["root"] for each in messages if each["project"]}
    told = state_of(messages)
    assert {first: "succeeded", second: "succeeded"} == told


def started_and_told(sandbox: Sandbox, root: Path, log: Path) -> str:
    """Run the project; returns once the run's end was told."""
    run = sandbox.cli("run", cwd=root).stdout.decode().strip()
    wait_until(
        lambda: (
            "succeeded"
            == state_of(
                [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]
            ).get(run)
        ),
        "the end of the run is told",
        40,
    )
    return run


def state_of(messages: list[dict[str, Any]]) -> dict[str, str]:
    """The runs as somebody knows them who has read all that."""
    known: dict[str, str] = {}
    for message in messages:
        if message["complete"]:
            known.clear()
        known.update({run["id"]: run["state"] for run in message["runs"]})
    return known
