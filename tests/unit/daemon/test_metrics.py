"""What a scrape finds."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pollinator.daemon.app import MIGRATIONS
from pollinator.daemon.metrics import TABLE, Metrics, MetricsServer, Samples, look
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.sync.meter import Durations
from pollinator.daemon.sync.projects import Projects, read_spec
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.daemon_pb2 import CheckStatus
from pollinator.v1.run_pb2 import (
    Outcome,
    OutcomeReason,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StateChanged,
)
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from support.sandbox import SPEC

Values = dict[str, dict[tuple[tuple[str, str], ...], float]]


class Place:
    """Projects and runs of a daemon."""

    def __init__(self, folder: Path, projects: Projects, runs: RunLog) -> None:
        self.folder = folder
        self.projects = projects
        self.runs = runs

    async def look(self) -> Samples:
        return await look(self.projects, self.runs)


@asynccontextmanager
async def working(folder: Path) -> AsyncGenerator[Place]:
    records = Records(folder / "daemon.db", MIGRATIONS)
    pool = Pool("test", 2)
    try:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            projects = Projects(records, StoreKeeper(folder / "stores"), folder / "indexes", group, pool)
            runs = RunLog(records, OutputFiles(folder / "output"), iter(range(10**9, 10**12)).__next__)
            yield Place(folder, projects, runs)
            await projects.close()
    finally:
        pool.close()
        records.close()


def scraped(url: str) -> Values:
    """Every sample by its name and labels."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_a_scrape_of_a_daemon_at_work_has_every_family(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    for tree in ("src", "data"):
        (root / "cfs" / tree).mkdir(parents=True)
    (root / "project.yaml").write_text(SPEC.format(name="demo"))
    (root / "cfs/data/f").write_bytes(random_bytes(5000))
    store = StoreSettings(folder=FolderStore(path=str(tmp_path / "store")))
    async with working(tmp_path) as place:
        project = await place.projects.open(root, store)
        await project.worker.seal(read_spec(root), strict=False, git_commit="")
        project.worker.errors["disk_full"] += 2
        place.runs.accept(Run(id="a", request_id="a", attempt=1), StartRunRequest())
        place.runs.accept(Run(id="b", request_id="b", attempt=1), StartRunRequest())
        end = StateChanged(
            state=RunState.RUN_STATE_FAILED, outcome=Outcome(reason=OutcomeReason.OUTCOME_REASON_SNAPSHOT)
        )
        place.runs.append("b", RunEvent(state_changed=end))
        server = MetricsServer(("127.0.0.1", 0), place.look)
        try:
            found = await asyncio.to_thread(scraped, f"http://127.0.0.1:{server.port}/metrics")
        finally:
            await asyncio.to_thread(server.close)

    of = (("project", "demo"), ("root", str(root)))
    assert {each.name for each in TABLE if each.kind != "histogram"} <= set(found)
    assert 1 == found["pollinator_project_files"][of]
    assert 5000 == found["pollinator_project_bytes"][of]
    assert found["pollinator_project_read_bytes_total"][of] >= 5000
    assert found["pollinator_project_sent_bytes_total"][of] >= 5000
    assert found["pollinator_project_requests_total"][of] >= 1
    assert 2 == found["pollinator_project_errors_total"][(of[0], ("reason", "disk_full"), of[1])]
    assert 1 == found["pollinator_project_seal_seconds_count"][of]
    assert {(("state", "accepted"),): 1} == {
        labels: value for labels, value in found["pollinator_runs"].items() if value
    }
    assert {(("reason", "snapshot"), ("state", "failed")): 1} == found["pollinator_runs_ended_total"]


async def test_names_are_as_prometheus_wants_them(tmp_path: Path) -> None:
    for family in TABLE:
        assert family.name.startswith("pollinator_")
        assert (family.kind == "counter") is family.name.endswith("_total")
        assert not family.text.endswith(".")

    async with working(tmp_path) as place:
        assert [each.name for each in TABLE] == list(await place.look())


async def test_a_port_that_is_taken_keeps_nobody_from_working_and_doctor_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with working(tmp_path) as place:
            with Metrics(f"127.0.0.1:{port}", place.projects, place.runs) as metrics:
                (check,) = metrics.checks()

    assert f"no metrics at 127.0.0.1:{port}: Address already in use" in caplog.text
    assert CheckStatus.CHECK_STATUS_WARNING == check.status
    assert f"none at 127.0.0.1:{port}: Address already in use" == check.detail
    assert "pollinator daemon restart" in check.hint


async def test_doctor_says_where_metrics_are_and_nothing_when_they_are_off(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        with Metrics("127.0.0.1:0", place.projects, place.runs) as metrics:
            (check,) = metrics.checks()
            url = check.detail.removeprefix("at ")
            found = await asyncio.to_thread(scraped, url)
        with Metrics("", place.projects, place.runs) as metrics:
            assert [] == metrics.checks()

    assert CheckStatus.CHECK_STATUS_OK == check.status
    assert "pollinator_runs" in found


def test_durations_are_counted_by_their_limits() -> None:
    times = Durations()
    for seconds in (0.001, 0.002, 50.0, 5000.0):
        times.add(seconds)
    counts = dict(times.cumulative())

    assert (1, 2, 2, 3, 4) == (
        counts[0.001],
        counts[0.003],
        counts[30.0],
        counts[100.0],
        counts[float("inf")],
    )
    assert 5050.003 == pytest.approx(times.total_s)
