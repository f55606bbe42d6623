"""What reaches a command in an image: variables, exact whatever they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pollinator.executors.containers.daemonic import Daemonic
from pollinator.executors.containers.inimage import script_of
from pollinator.executors.containers.opening import OnHost, open_inside
from pollinator.executors.containers.selfcontained import SelfContained

ODD = {
    "LINES": "a\nb\n\nc\n",
    "QUOTES": 'it\'s "so" `true` $(false) $HOME \\',
    "EMPTY": "",
    "SPACES": "  x\t ",
    "UNICODE": "hej då ☃",
    "BYTES": os.fsdecode(b"\xff\xfe"),
    "IFS": ":",
    "LONG": "x" * 100_000,
}
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_variables_are_exact(shell: str) -> None:
    script = script_of(ODD) + f'exec {sys.executable} -S -c "$0"'.encode()
    # They come from stdin, as in an image.
    ran = subprocess.run(
        [shell, "-c", ". /dev/stdin", SHOW], input=script, env={}, capture_output=True, check=True
    )
    seen = json.loads(ran.stdout)

    assert ODD == {name: seen.get(name) for name in ODD}


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_what_a_shell_keeps_for_itself_does_not_stop_the_others(shell: str) -> None:
    script = script_of({"UID": "7", "PPID": "7", "AFTER": "1"}) + b'echo "$AFTER"'
    ran = subprocess.run([shell, "-c", ". /dev/stdin"], input=script, capture_output=True, check=True)

    assert b"1\n" == ran.stdout


def plan(engine: str) -> dict[str, object]:
    about: dict[str, object] = {
        "engine": engine,
        "program": f"/usr/bin/{engine}",
        "image": "x",
        "user": "1:2",
        "cpus": 0,
        "env": {},
    }
    return {"run_id": "r1", "cwd": "/", "memory_bytes": 0, "container": about}


def test_where_commands_are_follows_from_the_plan(tmp_path: Path) -> None:
    kinds = {name: type(open_inside(tmp_path, plan(name))) for name in ("apptainer", "singularity")}
    kinds |= {name: type(open_inside(tmp_path, plan(name))) for name in ("docker", "podman")}

    assert {
        "apptainer": SelfContained,
        "singularity": SelfContained,
        "docker": Daemonic,
        "podman": Daemonic,
    } == kinds
    assert isinstance(open_inside(tmp_path, {"cwd": "/", "container": None}), OnHost)


@pytest.mark.parametrize("engine", ["apptainer", "docker"])
def test_variables_are_in_no_argument(tmp_path: Path, engine: str) -> None:
    inside = open_inside(tmp_path, plan(engine))
    entry = inside.enter(0, ["prog", "arg"], {"TOKEN": "hunter2"})
    with entry.stdin as script:
        content = script.read()

    assert b"export TOKEN='hunter2'" in content
    assert "hunter2" not in str(entry.argv) + str(entry.env)
    assert ["prog", "arg"] == entry.argv[-2:]


def test_a_folder_that_apptainer_cannot_be_told_of_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a:b"
    place.mkdir()

    assert "holds , or :" in open_inside(place, plan("apptainer")).begin()
