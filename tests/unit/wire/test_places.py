"""Where things are on this machine."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from pollinator.wire import places

BASES = {
    "XDG_CONFIG_HOME": (places.config_dir, ".config/pollinator"),
    "XDG_STATE_HOME": (places.state_dir, ".local/state/pollinator"),
    "XDG_CACHE_HOME": (places.cache_dir, ".cache/pollinator"),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/home/ada")
    for name in (*BASES, "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", BASES)
def test_folders_are_where_the_standard_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    place, below = BASES[name]

    assert Path("/home/ada", below) == place()
    monkeypatch.setenv(name, "/given")
    assert Path("/given/pollinator") == place()


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("value", ["", "relative", "./here", "~/x"])
def test_a_folder_that_is_not_absolute_is_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    place, below = BASES[name]

    assert Path("/home/ada", below) == place()


def test_a_home_is_not_needed_where_the_folder_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("XDG_STATE_HOME", "/given")

    assert Path("/given/pollinator") == places.state_dir()


def test_the_mac_has_folders_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert Path("/home/ada/Library/Application Support/pollinator") == places.state_dir()
    assert Path("/home/ada/Library/Caches/pollinator") == places.cache_dir()


def test_sockets_lie_in_the_users_runtime_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")

    assert Path("/run/user/1000/pollinator/d.sock") == places.daemon_socket()


@pytest.mark.parametrize("value", [None, "", "relative"])
def test_without_a_runtime_folder_each_user_has_one_of_their_own(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/var/tmp")
    if value is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)

    assert Path(f"/var/tmp/pollinator-{os.getuid()}") == places.runtime_dir()


@pytest.mark.parametrize("length", [40, 72, 73, 74, 100, 300])
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_every_socket_fits_however_long_the_folder(
    monkeypatch: pytest.MonkeyPatch, variable: str, length: int
) -> None:
    long = "/" + "x" * (length - 1)
    if variable == "TMPDIR":
        monkeypatch.setattr(tempfile, "gettempdir", lambda: long)
    else:
        monkeypatch.setenv(variable, long)
    path = places.runtime_dir()

    assert len(os.fsencode(path / "executor-0123456789ab.sock")) <= places.SOCKET_PATH_LIMIT
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="No such file"):
        probe.connect(str(path / "executor-0123456789ab.sock"))


def test_a_long_runtime_folder_always_leads_to_the_same_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Path] = []
    for name in ("a", "b", "a"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"/{name * 200}")
        found.append(places.runtime_dir())

    assert found[0] == found[2] != found[1]
    assert f"pollinator-{os.getuid()}-" in found[0].name


def test_a_private_folder_is_this_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = places.private_dir(tmp_path / "a" / "b")
    finally:
        os.umask(before)

    assert 0o700 == stat.S_IMODE(made.stat().st_mode)


def test_a_private_folder_that_is_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    assert 0o700 == stat.S_IMODE(places.private_dir(tmp_path).stat().st_mode)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(PermissionError, match="belongs to user"):
        places.private_dir(tmp_path)


def test_a_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("disk")

    assert tmp_path / "state" == places.private_dir(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_that_somebody_else_has_put_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "planted").symlink_to("mine")
    os.lchown(tmp_path / "planted", 65534, 65534)

    with pytest.raises(PermissionError, match="belongs to user 65534"):
        places.private_dir(tmp_path / "planted")
    assert 0o755 == stat.S_IMODE((tmp_path / "mine").stat().st_mode)


def test_a_folder_that_everybody_shares_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)

    with pytest.raises(PermissionError, match="shared"):
        places.private_dir(tmp_path)

    assert 0o1777 == stat.S_IMODE(tmp_path.stat().st_mode)
