"""What is shown beside a call that moves many bytes."""

from __future__ import annotations

import io

import pytest

from pollinator.cli.describe import biggest_lines, describe_project
from pollinator.cli.terminal import Terminal
from pollinator.cli.transfers import UploadView
from pollinator.cli.words import ignore_line, left_text
from pollinator.v1.project_pb2 import BigPath, Project, ProjectState, SyncActivity

MIB = 1 << 20
BIGGEST = (
    BigPath(path=b"data/ckpt", directory=True, files=3, bytes=1300 * MIB),
    BigPath(path=b"src/core dump", files=1, bytes=80 * MIB),
)


def test_the_biggest_are_named_once_with_what_can_be_done() -> None:
    err = io.StringIO()
    view = UploadView(Terminal(io.StringIO(), err, {}))
    for _ in range(3):
        view.take(Project(backlog_bytes=5, biggest=BIGGEST))

    assert [
        "There is much to send. The largest:",
        "   1.3 GiB  3 files  cfs/data/ckpt/",
        "  80.0 MiB           cfs/src/core dump",
        "Hint: what no run needs can be left out, for example: echo /cfs/data/ckpt/ >> .pollinatorignore",
    ] == err.getvalue().splitlines()


def test_files_alone_need_no_column_for_their_number() -> None:
    assert ["80.0 MiB  cfs/src/core dump"] == biggest_lines(BIGGEST[1:])
    assert [] == biggest_lines([])


@pytest.mark.parametrize(
    ("path", "directory", "line"),
    [
        (b"data/x", False, "/cfs/data/x"),
        (b"data/x", True, "/cfs/data/x/"),
        (b"data/two words", True, "'/cfs/data/two words/'"),
        (b"data/[1]*?\\", False, "'/cfs/data/\\[1]\\*\\?\\\\'"),
    ],
)
def test_a_path_becomes_a_line_that_means_it_alone(path: bytes, directory: bool, line: str) -> None:
    assert line == ignore_line(path, directory=directory)


def test_the_time_left_is_told_in_whole_seconds() -> None:
    assert ["1s left", "9s left", "2m05s left", "? left"] == [
        left_text(seconds) for seconds in (0.2, 9.3, 125.4, None)
    ]


def test_a_project_that_syncs_says_how_far_it_is() -> None:
    activity = SyncActivity(reading=b"data/ckpt/m1", read_rate=3 * MIB, send_rate=MIB)
    activity.time_left.FromSeconds(75)
    project = Project(
        name="demo",
        root="/p",
        state=ProjectState.PROJECT_STATE_SYNCING,
        backlog_files=2,
        backlog_bytes=75 * MIB,
        biggest=BIGGEST,
        activity=activity,
    )

    assert [
        "demo  /p",
        "  state:             syncing",
        "  backlog:           2 files, 75.0 MiB",
        "  largest:            1.3 GiB  3 files  cfs/data/ckpt/",
        "                     80.0 MiB           cfs/src/core dump",
        "  reading:           data/ckpt/m1",
        "  rate:              3.0 MiB/s read, 1.0 MiB/s sent, 1m15s left",
        "  files:             0 (0 B)",
    ] == "\n".join(describe_project(project)).splitlines()


def test_a_project_at_rest_says_nothing_of_rates() -> None:
    words = "\n".join(describe_project(Project(name="demo", activity=SyncActivity(bytes_sent=5))))

    assert "rate" not in words
    assert "reading" not in words
