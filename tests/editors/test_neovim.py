"""The plugin for Neovim, in a real one without a screen: scripts use it as a user does."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.components import program
from support.sandbox import Sandbox, desk, sandbox, wait_until
from support.source import ROOT

__all__ = ["desk", "sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PLUGIN = ROOT / "editors/neovim"
SCRIPTS = Path(__file__).parent / "neovim"
PACKAGE = "apt-get install neovim"

PRINTS = """\
import itertools, os, time
for number in itertools.count():
    print("line", number, flush=True)
    time.sleep(0.02)
    if os.path.exists(os.environ["ENOUGH"]):
        break
print("end")
"""
FAILS = """\
from lib import half

def work():
    return half(0)

work()
"""
LIBRARY = "def half(number):\n    return 1 / number\n"


@contextmanager
def neovim(box: Sandbox, root: Path, script: str, **env: str) -> Generator[subprocess.Popen[bytes]]:
    """An editor that works a script off."""
    command = [program("nvim", "editors", PACKAGE), "--headless", "-u", "NONE", "-n", "-i", "NONE"]
    command += ["-c", f"set runtimepath^={PLUGIN},{SCRIPTS}", "-c", "runtime plugin/pollinator.lua"]
    command += ["-c", f"set packpath= | lua package.path = '{SCRIPTS}/?.lua;' .. package.path"]
    command += ["-c", f"luafile {SCRIPTS / script}", "-c", "qa!"]
    with subprocess.Popen(
        command,
        cwd=root,
        env=box.env | env | {"RESULT": str(box.folder / "result.json")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as editor:
        try:
            yield editor
        finally:
            editor.kill()


def result(box: Sandbox, editor: subprocess.Popen[bytes]) -> Any:
    """What the script told when it had come to its end."""
    said, _ = editor.communicate(timeout=100)
    path = box.folder / "result.json"
    if not path.exists():
        pytest.fail(f"the script has not come to its end: {said.decode(errors='replace')}")
    told = json.loads(path.read_text())
    path.unlink()
    return told


def worked_off(box: Sandbox, root: Path, script: str, **env: str) -> Any:
    with neovim(box, root, script, **env) as editor:
        return result(box, editor)


@pytest.fixture
def root(desk: Sandbox) -> Path:
    """A project of a user whose daemon may run already."""
    return desk.project(f"demo-{uuid.uuid4().hex[:8]}")


def output_of(lines: list[str]) -> list[str]:
    """What the run printed, without what the plugin says."""
    return [line for line in lines if not line.startswith("──")]


def test_a_changed_file_is_written_and_run_and_what_it_prints_is_shown(desk: Sandbox, root: Path) -> None:
    told = worked_off(desk, root, "run.lua")

    assert ["red plain", "100 %", "größer ☃", "<ff>^@.", "no newline"] == output_of(told["lines"])
    assert [[1, 0, 3]] == told["red"]
    assert f"── run {told['id']} on local" == told["lines"][0]
    assert re.fullmatch(r"── succeeded after [\d.]+s", told["lines"][-1])
    assert "succeeded" == told["state"]
    assert re.fullmatch(r"succeeded after [\d.]+s", told["status"])
    assert (True, True, 1) == (told["written"], told["in_source"], told["windows"])
    assert [f"pollinator: {told['id']} {told['status']}"] == [each["text"] for each in told["messages"]]


def test_a_run_that_fails_is_listed_and_marked_until_the_next_one(desk: Sandbox, root: Path) -> None:
    (root / "cfs/src/main.py").write_text(FAILS)
    (root / "cfs/src/lib.py").write_text(LIBRARY)

    told = worked_off(desk, root, "fail.lua")

    assert "failed" == told["state"]
    assert f"pollinator {told['id']}" == told["title"]
    first = told["list"][0]
    assert ("lib.py", 2, "E") == (first["path"], first["line"], first["kind"])
    assert "division by zero" in first["text"]
    assert [2] == [each["line"] for each in told["marks"]["lib.py"]]
    assert {2} == set(told["signs"]["lib.py"])
    assert told["list_is_open"]
    assert ("succeeded", 0) == (told["after"], told["marks_after"])
    assert ([0, 0], 1) == (told["list_after"], told["list_of_others"])


def test_a_run_is_cancelled_and_another_let_go_of_and_followed_again(desk: Sandbox, root: Path) -> None:
    (root / "cfs/src/main.py").write_text(PRINTS.replace('os.environ["ENOUGH"]', '"/nowhere/at/all"'))

    told = worked_off(desk, root, "cancel.lua")

    assert ["cancelled", "let go of", "cancelled"] == told["states"]
    assert told["same"]
    assert "the run goes on" in told["told"]
    assert 0 == told["quickfix"]


def test_a_daemon_that_is_killed_leaves_neither_gap_nor_repeat_in_what_is_followed(sandbox: Sandbox) -> None:
    seen, killed, enough = (sandbox.folder / name for name in ("seen", "killed", "enough"))
    root = sandbox.project(program=PRINTS.replace('os.environ["ENOUGH"]', repr(str(enough))))
    env = {"SEEN": str(seen), "KILLED": str(killed), "ENOUGH": str(enough)}
    with neovim(sandbox, root, "killed.lua", **env) as editor:
        wait_until(seen.exists, "the editor shows the run", 60)
        before = sandbox.daemon_pid()
        sandbox.kill_daemon()
        wait_until(lambda: sandbox.daemon_pid() not in (0, before), "there is another daemon", 60)
        killed.touch()
        told = result(sandbox, editor)

    printed = output_of(told["lines"])
    assert [*(f"line {number}" for number in range(len(printed) - 1)), "end"] == printed
    assert "succeeded" == told["state"]
    assert len(printed) > 60


def test_a_run_goes_on_when_the_editor_is_closed_and_nothing_else_does(sandbox: Sandbox) -> None:
    enough = sandbox.folder / "enough"
    root = sandbox.project(program=PRINTS.replace('os.environ["ENOUGH"]', repr(str(enough))))

    run = worked_off(sandbox, root, "quit.lua")["id"]

    wait_until(
        lambda: [] == [each for each in sandbox.command_lines() if b"--json" in each], "nothing is left"
    )
    assert "running" == sandbox.show(run, root)["state"]
    enough.touch()
    assert 0 == sandbox.cli("wait", run, cwd=root).returncode


def test_runs_are_listed_and_looked_at(desk: Sandbox, root: Path) -> None:
    main = root / "cfs/src/main.py"
    main.write_text("print('first')\n")
    assert 0 == desk.cli("run", "--follow", cwd=root).returncode
    main.write_text("import sys\nsys.exit(undefined)\n")
    assert 1 == desk.cli("run", "--follow", cwd=root).returncode
    main.write_text("print('third')\nfor number in range(200):\n    print(number)\n")

    told = worked_off(desk, root, "look.lua")

    assert "failed (exit 1)" in told["first_status"]
    assert ["RUN", "STATE", "WHY", "AGE", "TIME", "EXECUTOR"] == told["list"][1].split()
    assert [["failed", "exit", "1"], ["succeeded", "-"]] == [
        told["list"][2].split()[1:4],
        told["list"][3].split()[1:3],
    ]
    assert ["first"] == output_of(told["logs"])
    assert [str(number) for number in range(100, 200)] == output_of(told["tail"])
    assert "what was printed before: pollinator logs" in "\n".join(told["tail"])
    assert {"-print('first')", "+print('third')"} <= set(told["diff"])
    newest = desk.show("latest", root)["id"]
    assert [f"Nothing differs between run {newest} and run {newest}."] == told["same"]
    assert 2 == told["problems"][0][0]
    assert "undefined" in told["problems"][0][1]
    assert any(re.match(r"ok +daemon: version", line) for line in told["doctor"])
    words, options, ids, executors, nothing = told["completed"]
    assert ["rerun", "run", "runs"] == words
    assert ["--on"] == options
    assert [told["ids"][0]] == ids
    assert ["local"] == executors
    assert not nothing
    assert 'there is no "explode"' in told["last_message"]["text"]


def test_project_yaml_is_looked_at_as_it_is_read_and_written(desk: Sandbox, root: Path) -> None:
    spec = root / "project.yaml"
    spec.write_text(spec.read_text().replace("walltime", "wallltime"))

    told = worked_off(desk, root, "spec.lua")

    line = next(at for at, text in enumerate(spec.read_text().splitlines(), 1) if "walltime" in text)
    assert [(line, 3)] == [(each["line"], each["column"]) for each in told["before"]]
    assert "walltime" in told["before"][0]["message"]
    assert any(f"project.yaml:{line}:" in each for each in told["refused"])


def test_a_project_is_run_at_every_save_in_a_terminal(desk: Sandbox, root: Path) -> None:
    (root / "cfs/src/main.py").write_text("print('number', 'one')\n")

    assert {"code": 0} == worked_off(desk, root, "dev.lua")


def test_health_says_what_is_missing(desk: Sandbox, root: Path) -> None:
    told = worked_off(desk, root, "health.lua")

    assert any("pollinator is version" in line for line in told["good"])
    assert any("daemon: version" in line for line in told["good"])
    assert not any("ERROR" in line for line in told["good"])
    assert any("ERROR" in line and "no-such-program was not found" in line for line in told["missing"])
    assert "Install it, or name it" in told["message"]["text"]


def test_what_ranks_print_becomes_text(desk: Sandbox, root: Path) -> None:
    told = worked_off(desk, root, "output.lua")

    assert ["plain", "red", "shown", "xy", "100 %", "ends with", "half ["] == told["texts"]
    assert ["first", "sec"] == told["begun"]
    assert [0, "second"] == told["grown"]
    assert ["[ 3] a", "[ 3] b"] == told["labelled"]
    assert ["hello", "hello!", "hell", ""] == told["base64"]


def test_the_help_has_every_command_and_option() -> None:
    text = (PLUGIN / "doc/pollinator.txt").read_text()
    commands = (PLUGIN / "lua/pollinator/commands.lua").read_text()
    config = (PLUGIN / "lua/pollinator/init.lua").read_text()
    table = commands[commands.index("local COMMANDS") : commands.index("local function names")]
    names = re.findall(r"^  (\w+) = \{$", table, re.MULTILINE)
    options = re.findall(
        r"^  (\w+) = ", config[config.index("M.config") : config.index("--- Change")], re.MULTILINE
    )

    assert {
        "run",
        "follow",
        "cancel",
        "rerun",
        "runs",
        "logs",
        "diff",
        "pull",
        "problems",
        "doctor",
        "dev",
    } <= set(names)
    assert [] == [name for name in names if f"*:Pollinator-{name}*" not in text]
    assert {"program", "marks"} <= set(options)
    assert [] == [name for name in options if not re.search(rf"^{name}\t", text, re.MULTILINE)]


def test_the_plugin_and_its_tests_are_clean() -> None:
    linter = program("luacheck", "editors", "apt-get install lua-check")
    command = [linter, "--no-color", "--no-cache", "--config", str(PLUGIN / ".luacheckrc")]

    checked = subprocess.run(
        [*command, str(PLUGIN), str(SCRIPTS)], capture_output=True, text=True, check=False
    )

    assert 0 == checked.returncode, checked.stdout
