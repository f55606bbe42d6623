"""What is installed at a site: our own wheel, and what platforms take which others."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pollinator.daemon.reach import wheels
from pollinator.daemon.reach.wheels import Wheels, make_own_wheel
from pollinator.wire.errors import Unavailable, WrongState
from support.private import CALLER
from support.source import ROOT

SITE: dict[str, Any] = {
    "python": [3, 11],
    "implementation": "cpython",
    "machine": "x86_64",
    "platform": "linux-x86_64",
    "glibc": "2.31",
    "pip": True,
}


def silent(line: str) -> None:
    """Nobody wants to know."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_own_wheel(tmp_path_factory.mktemp("own"))


def install(wheel: Path, target: Path) -> None:
    """Let pip install a wheel alone."""
    options = ["--quiet", "--no-deps", "--no-index"]
    command = [*wheels.pip_command(), "install", *options, "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, env=CALLER, capture_output=True)


def test_the_wheel_of_a_checkout_has_every_module_and_says_who_it_is(own: Path, tmp_path: Path) -> None:
    install(own, tmp_path)

    (found,) = importlib.metadata.distributions(name="pollinatord", path=[str(tmp_path)])
    here = importlib.metadata.distribution("pollinatord")
    modules = {
        path.relative_to(ROOT / root).as_posix()
        for root in ("proto", "pollinatord", "executors", "cli")
        for path in (ROOT / root / "pollinator").rglob("*.py")
    }
    assert here.version == found.version
    assert sorted(here.requires or []) == sorted(found.requires or [])
    assert {each.name for each in here.entry_points} == {each.name for each in found.entry_points}
    assert modules == {
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pollinator").rglob("*.py")
    }


def test_its_record_is_right_for_every_file(own: Path) -> None:
    with zipfile.ZipFile(own) as wheel:
        (record,) = [name for name in wheel.namelist() if name.endswith("/RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(wheel.read(record).decode().splitlines())}
        found = {name: wheel.read(name) for name in wheel.namelist()}

    expected: dict[str, list[str]] = {record: ["", ""]}
    for name in found.keys() - {record}:
        digest = urlsafe_b64encode(hashlib.sha256(found[name]).digest()).rstrip(b"=").decode()
        expected[name] = [f"sha256={digest}", str(len(found[name]))]
    assert expected == rows


def test_a_wheel_made_where_that_wheel_is_installed_is_the_same(own: Path, tmp_path: Path) -> None:
    target, again = tmp_path / "site", tmp_path / "again"
    install(own, target)
    program = f"""if True:
        import sys, pathlib
        # What it needs is here; it must not find the checkout.
        sys.path[:] = [{str(target)!r}, *[each for each in sys.path if "pollinator" not in each]]
        from pollinator.daemon.reach.wheels import make_own_wheel
        print(make_own_wheel(pathlib.Path({str(again)!r})))
    """
    path = os.pathsep.join([str(target), *[each for each in sys.path if each.endswith("site-packages")]])
    made = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )

    assert own.read_bytes() == Path(made.stdout.strip()).read_bytes()
    assert own.parent.name == Path(made.stdout.strip()).parent.name


@pytest.mark.parametrize(
    ("change", "taken", "refused"),
    [
        (
            {},
            {"manylinux_2_31_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"},
            {"manylinux_2_32_x86_64"},
        ),
        ({"machine": "aarch64"}, {"manylinux2014_aarch64"}, {"manylinux2014_x86_64"}),
        ({"glibc": ""}, {"musllinux_1_2_x86_64"}, {"manylinux2014_x86_64"}),
        ({"platform": "macosx-14.0-arm64"}, {"macosx_14_0_arm64"}, set[str]()),
    ],
)
def test_a_site_gets_wheels_of_its_own_platform(
    change: dict[str, str], taken: set[str], refused: set[str]
) -> None:
    tags = set(wheels.platforms(SITE | change))

    assert taken <= tags
    assert not refused & tags


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], str]:
    """A pip that fetches one wheel, in which is what it was asked; a letter for each call so far."""
    pip = tmp_path / "pip.py"
    pip.write_text(
        "import json, pathlib, sys\n"
        "[folder] = [each[7:] for each in sys.argv if each.startswith('--dest=')]\n"
        "pathlib.Path(folder).mkdir()\n"
        "pathlib.Path(folder, 'some-1-py3-none-any.whl').write_text(json.dumps(sys.argv))\n"
        f"pathlib.Path({str(tmp_path / 'calls')!r}).open('a').write('x')\n"
    )
    monkeypatch.setattr(wheels, "pip_command", lambda: [sys.executable, str(pip)])
    return (tmp_path / "calls").read_text


async def test_two_sites_of_a_kind_that_are_installed_at_once_get_the_same_packages(
    pip_calls: Callable[[], str],
) -> None:
    made = Wheels()

    both = await asyncio.gather(made.fetch(SITE, silent), made.fetch(SITE, silent))

    assert both[0] == both[1]
    assert "x" == pip_calls()


async def test_packages_are_fetched_once_and_what_was_asked_of_pip_names_the_site(
    pip_calls: Callable[[], str],
) -> None:
    told: list[str] = []

    first = await Wheels().fetch(SITE | {"pip": False}, told.append)
    second = await Wheels().fetch(SITE | {"pip": False}, told.append)

    asked = json.loads(first[0].read_text())
    assert first == second
    assert "x" == pip_calls()
    assert ["fetching packages for Python 3.11 on linux-x86_64"] == told
    assert {"--python-version=3.11", "--abi=cp311", "--abi=abi3", "--platform=manylinux_2_31_x86_64"} <= set(
        asked
    )
    assert "pip" == asked[-1]
    assert "grpcio>=1.74" in asked


async def test_packages_that_cannot_be_fetched_are_told_in_the_words_of_pip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    with pytest.raises(Unavailable) as caught:
        await Wheels().fetch(SITE, silent)

    assert "packages_unreachable" == caught.value.reason
    assert "No matching distribution" in caught.value.message


def test_without_pip_the_one_that_comes_with_python_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> object:
        return None if name == "pip" else object()

    monkeypatch.setattr("importlib.util.find_spec", find_spec)

    command = wheels.pip_command()

    assert sys.executable == command[0]
    assert command[1].endswith(".whl/pip")


def test_without_any_pip_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)

    with pytest.raises(WrongState) as caught:
        wheels.pip_command()

    assert "no_pip" == caught.value.reason
