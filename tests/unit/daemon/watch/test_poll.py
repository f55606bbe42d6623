"""Watching by looking at everything."""

from __future__ import annotations

import threading
from pathlib import Path

from pollinator.daemon.watch.base import Changes
from pollinator.daemon.watch.poll import COST_FACTOR, MIN_INTERVAL_S, PollWatch
from support.watching import started

EVERYTHING = Changes(subtrees=frozenset((b"",)))


def test_every_drain_announces_everything(tmp_path: Path) -> None:
    with started(PollWatch(tmp_path)) as watch:
        assert watch.drain() == EVERYTHING
        watch.refresh()

        assert watch.drain() == EVERYTHING


def test_it_is_time_to_look_again_after_the_shortest_interval(tmp_path: Path) -> None:
    now = [0.0]
    with started(PollWatch(tmp_path, clock=lambda: now[0])) as watch:
        assert not watch.wait(0)
        now[0] += MIN_INTERVAL_S

        assert watch.wait(0)


def test_a_look_that_takes_long_is_followed_by_a_longer_rest(tmp_path: Path) -> None:
    now = [0.0]
    with started(PollWatch(tmp_path, clock=lambda: now[0])) as watch:
        watch.drain()
        now[0] += 7.0

        assert not watch.wait(0)
        now[0] += 7.0 * COST_FACTOR - 1

        assert not watch.wait(0)
        now[0] += 1

        assert watch.wait(0)


def test_a_root_that_goes_away_is_announced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with started(PollWatch(root)) as watch:
        root.rmdir()

        assert watch.drain().root_gone
        root.touch()

        assert watch.drain().root_gone


def test_closing_ends_waiting(tmp_path: Path) -> None:
    watch = PollWatch(tmp_path)
    watch.start()
    watch.drain()
    waiting = threading.Thread(target=watch.wait, args=(60,))
    waiting.start()
    watch.close()
    watch.close()
    waiting.join(10)

    assert not waiting.is_alive()
