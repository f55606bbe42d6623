"""The program that is sent to a machine, run here as it is run there."""

from __future__ import annotations

import ensurepip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollinator.daemon.reach import far

TAG = "1-abc"
PLACE = "lumi-0123abcd"
EXECUTOR = """\
#!{python}
import os, pathlib, signal, socket, sys
given = dict(zip(sys.argv[1:], sys.argv[2:]))
state = pathlib.Path(given["--state"])
path = pathlib.Path(given["--socket"])
(state / "executor.lock").write_text(f"{{os.getpid()}}\\n{{path}}\\n")
(state / "argv").write_text("\\n".join(sys.argv[1:]))
if (state / "refuse").exists():
    sys.exit("no such cluster")
path.unlink(missing_ok=True)
server = socket.socket(socket.AF_UNIX)
server.bind(str(path))
server.listen()
signal.pause()
"""


class There:
    """A user's home with an environment whose executor only listens."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / ".local/state/pollinator/executors" / PLACE
        self.envs = home / ".local/share/pollinator/env"

    def install(self, tag: str = TAG) -> None:
        """An environment that is whole."""
        (self.envs / tag / "bin").mkdir(parents=True)
        python = self.envs / tag / "bin" / "python"
        python.write_text(EXECUTOR.format(python=sys.executable))
        python.chmod(0o755)
        (self.envs / tag / "complete").touch()

    def ask(self, operation: str, data: bytes = b"", **more: object) -> dict[str, Any]:
        """Make one request, as the daemon does; returns the last word."""
        request: dict[str, Any] = {
            "op": operation,
            "dir": "",
            "place": PLACE,
            "kind": "slurm",
            "tag": TAG,
            "settings": {},
        }
        request |= {"settings": {}, "wheel": "pollinatord-1-py3-none-any.whl", **more}
        done = subprocess.run(
            [sys.executable, "-I", far.__file__],
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], "SHELL": "/bin/sh"},
            input=json.dumps(request).encode() + b"\n" + data,
            capture_output=True,
            timeout=50,
            check=True,
        )
        words = [json.loads(line.removeprefix(far.MARK)) for line in done.stdout.decode().splitlines()]
        self.steps = [word["step"] for word in words if "step" in word]
        last: dict[str, Any] = words[-1]
        return last

    def pid(self) -> int:
        """The executor's process."""
        return int((self.state / "executor.lock").read_text().split()[0])


def fake_host(state: Path, age_s: float) -> None:
    """Another machine has the executor, and said so some time ago."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "alive").write_text("login2")
    then = time.time() - age_s
    os.utime(state / "alive", (then, then))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    made = There(tmp_path)
    yield made
    made.ask("remove", runs=False)


def test_a_new_machine_says_what_it_takes_to_install_there(there: There) -> None:
    found = there.ask("look")["result"]

    assert not found["installed"]
    assert [list(sys.version_info[:2]), "cpython", []] == [
        found[each] for each in ("python", "implementation", "wheels")
    ]
    assert socket.gethostname() == found["host"]


def test_an_executor_with_other_settings_is_replaced(there: There) -> None:
    there.install()
    there.ask("look", settings={"slurm.account": "a"})
    first = (there.state / "executor.lock").read_text()
    there.ask("look", settings={"slurm.account": "b"})
    second = (there.state / "executor.lock").read_text()
    there.ask("look", settings={"slurm.account": "b"})

    assert first != second == (there.state / "executor.lock").read_text()
    assert "--set=slurm.account=b" in (there.state / "argv").read_text().splitlines()


def test_an_executor_is_started_once_with_its_settings_and_outside_of_the_session(there: There) -> None:
    there.install()

    first = there.ask("look", settings={"slurm.account": "a b"})["result"]
    pid = there.pid()
    second = there.ask("look", settings={"slurm.account": "a b"})["result"]

    argv = (there.state / "argv").read_text().splitlines()
    assert first == second
    assert pid == there.pid()
    assert pid == os.getsid(pid)
    assert ["slurm", "--shared"] == argv[4:6]
    assert "--set=slurm.account=a b" == argv[-1]
    assert far.listens(Path(first["socket"]))


def test_one_of_another_environment_is_replaced(there: There) -> None:
    there.install()
    there.install("2-def")
    there.ask("look")
    before = there.pid()

    there.ask("look", tag="2-def")

    assert before != there.pid()
    assert "2-def" == (there.state / "env").read_text()


def test_one_that_does_not_come_up_is_told_in_its_own_words(there: There) -> None:
    there.install()
    there.state.mkdir(parents=True)
    (there.state / "refuse").touch()

    reason, message, hint = there.ask("look")["trouble"]

    assert "executor_down" == reason
    assert "ended with 1: no such cluster" in message
    assert str(there.state / "executor.log") in hint


def test_one_on_another_machine_that_is_dead_is_taken_over_at_once(there: There) -> None:
    there.install()

    fake_host(there.state, far.STALE_S + 1)

    there.ask("look")

    assert there.pid()


def test_runs_of_a_local_executor_are_not_taken_from_a_machine_that_is_alive(there: There) -> None:
    there.install()

    fake_host(there.state, 0)

    reason, message, _ = there.ask("look", kind="local")["trouble"]
    (there.state / "alive").unlink()

    assert "on_other_host" == reason
    assert "login2" in message


def test_one_on_another_machine_is_asked_to_end_and_waited_for(there: There) -> None:
    there.install()
    ending = f"""if True:
        import pathlib, time
        state = pathlib.Path({str(there.state)!r})
        while not (state / "end").exists():
            time.sleep(0.01)
        (state / "alive").unlink()
    """

    fake_host(there.state, 0)

    with subprocess.Popen([sys.executable, "-c", ending]) as other:
        there.ask("look")
        other.wait(10)

    assert [
        "taking over from login2",
        f"starting the slurm executor on {socket.gethostname()}",
    ] == there.steps
    assert not (there.state / "end").exists()


def test_the_kind_is_slurm_where_there_is_an_sbatch_after_a_login(there: There) -> None:
    there.install()
    (there.home / "bin").mkdir()
    (there.home / "bin" / "sbatch").touch(0o755)
    (there.home / ".profile").write_text(f"echo welcome; PATH={there.home}/bin:$PATH\n")

    there.ask("look", kind="")

    assert "slurm" == (there.state / "argv").read_text().splitlines()[4]


def test_a_wheel_is_kept_whole_or_not_at_all(there: There) -> None:
    assert {"result": {}} == there.ask("put", b"12345", name="a.whl", size=5)
    assert ["a.whl"] == there.ask("look")["result"]["wheels"]
    with pytest.raises(subprocess.CalledProcessError):
        there.ask("put", b"123", name="b.whl", size=5)
    assert ["a.whl"] == there.ask("look")["result"]["wheels"]


def test_an_installation_that_fails_says_why_and_leaves_nothing_that_counts(there: There) -> None:
    there.ask("put", b"no wheel", name="pollinatord-1-py3-none-any.whl", size=8)

    done = there.ask("install", index=False)["result"]

    assert not done["installed"]
    assert "pollinatord" in done["why"]
    assert not there.ask("look")["result"]["installed"]


def test_a_folder_of_ones_own_choice_holds_everything(there: There, tmp_path: Path) -> None:
    there.ask("put", b"1", name="a.whl", size=1, dir="$HOME/disk")
    there.ask("put", b"1", name="b.whl", size=1, dir="~/disk")

    assert {"a.whl", "b.whl"} == {
        each.name for each in (tmp_path / f"disk/pollinator-{os.getuid()}/wheels").iterdir()
    }


def test_a_folder_named_by_a_variable_that_is_not_there_is_refused(there: There) -> None:
    reason, message, _ = there.ask("look", dir="$SCRATCH/x")["trouble"]

    assert "bad_setting" == reason
    assert "$SCRATCH" in message


def test_a_disk_without_space_says_so_and_what_to_do(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(far.Trouble) as caught, far.space_for(Path("/small")):
        raise OSError(28, "No space left on device")

    reason, message, hint = caught.value.args
    assert "disk_full" == reason
    assert "/small" in message
    assert "ssh.dir" in hint


def test_an_environment_goes_when_no_executor_and_no_run_of_its_time_needs_it(there: There) -> None:
    there.install("0-old")
    there.install()
    there.ask("look")
    marked = (there.envs / "0-old" / "unused").exists()
    run = there.state / "runs" / "r"
    run.mkdir(parents=True)
    (run / "private.pb").touch()
    (run / "request.pb").touch()
    then = time.time() - 1000
    os.utime(run / "request.pb", (then, then))
    # Its folder is young: the job has just begun with it.
    (run / "started.json").touch()
    there.ask("look")
    kept = (there.envs / "0-old").exists()
    (run / "private.pb").unlink()
    there.ask("look")

    assert marked
    assert kept
    assert not (there.envs / "0-old").exists()
    assert (there.envs / TAG).exists()


def test_where_python_has_no_pip_of_its_own_the_one_that_was_sent_installs(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        return None

    wheels = tmp_path / ".local/share/pollinator/wheels"
    wheels.mkdir(parents=True)
    [pip] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    shutil.copy(pip, wheels)
    with zipfile.ZipFile(wheels / "pollinatord-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("here.py", "")
        wheel.writestr(
            "pollinatord-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pollinatord\nVersion: 1\n"
        )
        wheel.writestr("pollinatord-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("pollinatord-1.dist-info/RECORD", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("importlib.util.find_spec", nothing)

    done = far.install(
        {
            "dir": "",
            "place": PLACE,
            "tag": TAG,
            "settings": {},
            "index": False,
            "wheel": "pollinatord-1-py3-none-any.whl",
        }
    )

    assert {"installed": True, "why": ""} == done
    assert 1 == len(list((there.envs / TAG).glob("lib/python*/site-packages/here.py")))


def test_a_process_that_has_the_number_of_an_executor_that_is_gone_is_left_alone(there: There) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        there.state.mkdir(parents=True)
        (there.state / "executor.lock").write_text(f"{innocent.pid}\n/gone.sock\n")
        there.ask("remove", runs=True)
        alive = innocent.poll() is None
        innocent.kill()

    assert alive
