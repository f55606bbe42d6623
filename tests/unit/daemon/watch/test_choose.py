"""Which watcher is taken where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pollinator.daemon.watch import choose
from pollinator.daemon.watch.choose import VARIABLE, open_watch
from pollinator.daemon.watch.filesystem import is_network_fs, network_fs, network_mounts
from pollinator.wire.errors import InvalidInput
from support.watching import nothing, started


@pytest.mark.parametrize("kind", ["poll", "watchdog", "inotify"])
def test_the_variable_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "inotify" and sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    monkeypatch.setenv(VARIABLE, kind)
    with started(open_watch(tmp_path, nothing)) as watch:
        (tmp_path / "f").touch()

        assert kind == watch.kind
        assert watch.drain().covers(b"f")


def test_an_unknown_word_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "telepathy")

    with pytest.raises(InvalidInput) as caught:
        open_watch(tmp_path, nothing)

    assert caught.value.reason == "bad_setting"


def test_a_local_directory_is_watched_by_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with started(open_watch(tmp_path, nothing)) as watch:
        expected = "inotify" if sys.platform == "linux" else "watchdog"

        assert expected == watch.kind
        assert not watch.degraded


def test_a_network_file_system_is_polled_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    def on_nfs(_path: Path) -> str:
        return "nfs"

    monkeypatch.setattr(choose, "network_fs", on_nfs)
    with started(open_watch(tmp_path, nothing)) as watch:
        assert watch.kind == "poll"
        assert "nfs" in watch.degraded


def test_local_file_systems_are_told_from_shared_ones(tmp_path: Path) -> None:
    assert not is_network_fs(tmp_path)
    assert not network_fs(tmp_path / "missing")
    assert not network_mounts(tmp_path)
