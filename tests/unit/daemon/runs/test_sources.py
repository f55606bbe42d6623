"""From where a run had its files to where they are edited."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.daemon.runs import sources as under_test
from pollinator.daemon.runs.sources import Sources

FILES = ("main.py", "a/b.py", "lib/src/x.rs", "one/same.c", "two/same.c", ".hidden/h.c", "src/odd.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "cfs/src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("/home/me/.local/state/pollinator/executors/local/runs/01x/work/src/main.py", "main.py"),
        ("/home/me/.local/state/pollinator/executors/local/runs/01x/work/src/a/b.py", "a/b.py"),
        ("/cfs/src/main.py", "main.py"),
        ("/cfs/src/./a/../main.py", "main.py"),
        ("/scratch/work/src/run/work/src/main.py", "main.py"),
        ("src/main.py", "main.py"),
        ("main.py", "main.py"),
        ("./main.py", "main.py"),
        ("src/odd.py", "src/odd.py"),
        ("b.py", "a/b.py"),
        ("src/x.rs", "lib/src/x.rs"),
        ("one/same.c", "one/same.c"),
    ],
)
def test_a_path_leads_to_the_file_that_is_edited(root: Path, printed: str, expected: str) -> None:
    assert f"cfs/src/{expected}" == Sources(root).locate(printed)


@pytest.mark.parametrize(
    "printed",
    [
        "same.c",
        "h.c",
        "none.py",
        "/usr/src/main.py",
        "/usr/lib/python3/main.py",
        "/cfs/src/none.py",
        "/cfs/src/a",
        "/cfs/src",
        "../main.py",
        "/cfs/src/../../main.py",
        "x\0y",
        "",
        "/",
        "n" * 5000,
    ],
)
def test_any_other_leads_nowhere(root: Path, printed: str) -> None:
    assert Sources(root).locate(printed) is None


def test_of_very_many_files_not_all_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_FILES", 1)

    assert Sources(root).locate("b.py") is None
    assert "cfs/src/a/b.py" == Sources(root).locate("a/b.py")


def test_a_file_whose_name_is_no_text_cannot_be_told(root: Path) -> None:
    (root / "cfs/src" / os.fsdecode(b"caf\xe9")).mkdir()
    (root / "cfs/src" / os.fsdecode(b"caf\xe9/only.py")).touch()

    assert Sources(root).locate("only.py") is None


def test_a_project_that_is_gone_has_no_sources(tmp_path: Path) -> None:
    assert Sources(tmp_path / "gone").locate("main.py") is None
