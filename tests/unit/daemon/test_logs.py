"""The daemon's log: JSON lines, rotated by size."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollinator.daemon.about import about, only_about
from pollinator.daemon.logs import start_logging
from pollinator.daemon.pool import Pool
from pollinator.daemon.settings import load_settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level


def begin(path: Path, **environ: str) -> None:
    # What the test runner listens with is taken away for a while and must not be closed.
    logging.getLogger().handlers.clear()
    start_logging(path, load_settings(environ, path.with_name("no.yaml")))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_entry_is_one_line_of_json_with_time_level_logger_and_message(tmp_path: Path) -> None:
    begin(tmp_path / "log" / "daemon.log")
    logging.getLogger("pollinator.x").warning("two\nlines, %s and 'ü'", 1)

    (entry,) = lines(tmp_path / "log" / "daemon.log")

    assert ("WARNING", "pollinator.x") == (entry["level"], entry["logger"])
    assert "two\nlines, 1 and 'ü'" == entry["message"]
    assert entry["time"].endswith("+00:00")
    assert "exception" not in entry


async def test_an_entry_says_which_run_and_project_it_is_about(tmp_path: Path) -> None:
    begin(tmp_path / "daemon.log")
    log, pool = logging.getLogger("x"), Pool("test", 1)

    async def work() -> None:
        log.warning("of a task")
        await pool.run(log.warning, "of a thread")

    with about(run="r", project=""):
        log.warning("of a run")
        with about(project="p"):
            log.warning("of both")
        async with asyncio.TaskGroup() as group:
            group.create_task(work(), context=only_about(project="q"))
    log.warning("of none")
    pool.close()

    found = lines(tmp_path / "daemon.log")

    assert [
        ("of a run", "r", None),
        ("of both", "r", "p"),
        ("of a task", None, "q"),
        ("of a thread", None, "q"),
        ("of none", None, None),
    ] == [(each["message"], each.get("run"), each.get("project")) for each in found]


def test_an_exception_is_part_of_its_entry(tmp_path: Path) -> None:
    begin(tmp_path / "daemon.log")
    try:
        raise ValueError("inner")
    except ValueError:
        logging.getLogger("x").exception("outer")

    (entry,) = lines(tmp_path / "daemon.log")

    assert "outer" == entry["message"]
    assert entry["exception"].endswith("ValueError: inner")


def test_only_what_is_severe_enough_is_written(tmp_path: Path) -> None:
    begin(tmp_path / "daemon.log", POLLINATOR_LOG_LEVEL="warning")
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("x"), level)(level)
    logging.getLogger("botocore.client").info("every request")

    assert ["warning", "error"] == [entry["message"] for entry in lines(tmp_path / "daemon.log")]


def test_the_log_is_rotated_by_size_and_only_so_many_files_are_kept(tmp_path: Path) -> None:
    begin(tmp_path / "daemon.log", POLLINATOR_LOG_BYTES="2000", POLLINATOR_LOG_FILES="2")
    for number in range(100):
        logging.getLogger("x").info("entry %d", number)

    names = sorted(path.name for path in tmp_path.iterdir())
    kept = [entry for name in reversed(names) for entry in lines(tmp_path / name)]

    assert ["daemon.log", "daemon.log.1", "daemon.log.2"] == names
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)
    assert [f"entry {number}" for number in range(100 - len(kept), 100)] == [
        entry["message"] for entry in kept
    ]


def test_the_folder_of_the_log_is_for_this_user_only(tmp_path: Path) -> None:
    begin(tmp_path / "log" / "daemon.log")

    assert 0o700 == (tmp_path / "log").stat().st_mode & 0o777
