"""What users install: the wheel made from the sdist, in an environment that has never seen this tree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.private import CALLER, private_user
from support.sandbox import BIN, gone, wait_until
from support.source import ROOT, SOURCES, project_files

UNREACHABLE = ("error sending request", "Could not connect", "dns error", "Failed to fetch", "timed out")


def uv(*arguments: str | Path) -> None:
    """Run uv as the user of the tests: with their index and their cache."""
    command = [BIN / "uv", "--quiet", "--no-config", *arguments]
    done = subprocess.run(command, env=CALLER, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode and any(words in done.stderr for words in UNREACHABLE) and "CI" not in CALLER:
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip()}")
    assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    [found] = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new virtual environment with nothing but the wheel and what it asks for."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    uv("venv", "--python", BIN / "python", venv)
    uv("pip", "install", "--python", venv, wheel)
    return venv / "bin"


@pytest.fixture
def user() -> Iterator[dict[str, str]]:
    """The environment of a new user, without this tree on any path."""
    with private_user():
        kept = ("HOME", "XDG_", "LANG", "TMPDIR")
        yield {name: value for name, value in os.environ.items() if name.startswith(kept)} | {
            "PATH": os.defpath
        }


pytestmark = pytest.mark.timeout(300)


def test_the_sdist_holds_every_file_of_the_project(dist: Path) -> None:
    [path] = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}

    assert set(project_files()) | {"PKG-INFO"} == names


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    # The .proto files go along: other programs make their clients from them.
    roots = tuple(f"{each}/pollinator/" for each in SOURCES)
    expected = {name.partition("/")[2] for name in project_files() if name.startswith(roots)}

    assert expected == names
    assert {"pollinator"} == {name.partition("/")[0] for name in names}
    assert 7 == len([name for name in names if name.endswith("/py.typed")])
    assert "pollinator/cli/data/project.yaml" in names
    assert "pollinator/v1/run.proto" in names


def test_the_wheel_passes_its_check(wheel: Path) -> None:
    subprocess.run([BIN / "check-wheel-contents", wheel], cwd=ROOT, check=True, timeout=60)


def test_the_programs_say_who_they_are(programs: Path, user: dict[str, str], tmp_path: Path) -> None:
    def output(*command: str) -> str:
        return subprocess.run(
            [programs / command[0], *command[1:]],
            cwd=tmp_path,
            env=user,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        ).stdout

    assert output("pollinator", "--version").startswith("pollinator 0.")
    assert "Usage: pollinator-executor" in output("pollinator-executor", "--help")


def test_the_installed_executor_of_a_cluster_is_what_its_image_has(
    programs: Path, user: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [programs / "pollinator-executor", "kubernetes", "--state", tmp_path / "state"],
        env=user,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (2, "kubernetes.claim") == (done.returncode, done.stderr.splitlines()[-1].split()[0]), done.stderr


def test_the_installed_daemon_runs_a_new_project(
    programs: Path, user: dict[str, str], tmp_path: Path
) -> None:
    pollinator = programs / "pollinator"
    subprocess.run([pollinator, "new", "demo"], cwd=tmp_path, env=user, check=True, timeout=50)
    daemon = subprocess.Popen([programs / "pollinatord"], cwd=tmp_path, env=user, stdin=subprocess.DEVNULL)
    try:
        wait_until(Path(user["XDG_RUNTIME_DIR"], "pollinator/d.sock").exists, "the daemon listens")

        ended = subprocess.run(
            [pollinator, "run", "--follow"],
            cwd=tmp_path / "demo",
            env=user | {"PATH": f"{programs}:{os.defpath}", "POLLINATOR_NO_AUTOSTART": "1"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

        assert 0 == ended.returncode, ended.stderr
        assert "Hello from" in ended.stdout
        assert (tmp_path / "demo/cfs/result/result.txt").exists()
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert 0 == daemon.wait(20)
        end_executor(Path(user["XDG_STATE_HOME"], "pollinator/executors/local/executor.lock"))


def end_executor(lock: Path) -> None:
    """It outlives its daemon."""
    with contextlib.suppress(FileNotFoundError):
        pid = int(lock.read_text().split()[0])
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: gone(pid), "the executor is gone")
