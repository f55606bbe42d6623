"""What is said of an index that is not what it was."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pollinator.daemon.index import Index


def said(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What opening it says in the log."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="pollinator.daemon.index"):
        Index(path, "store").close()
    return [record.getMessage() for record in caplog.records]


def test_an_index_that_was_deleted_is_made_again_and_one_that_was_damaged_rebuilt_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "index.db"
    first = said(path, caplog)
    again = said(path, caplog)
    path.unlink()
    deleted = said(path, caplog)
    path.write_bytes(b"x" * 20_000)
    damaged = said(path, caplog)

    assert (
        [f"index {path} is new: all files are read, and sent where the store lacks them"] == first == deleted
    )
    assert [] == again
    assert 1 == len(damaged)
    assert damaged[0].startswith(f"index {path} is rebuilt: ")
