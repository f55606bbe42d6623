"""What the daemon does, in numbers, for a Prometheus server: served over HTTP while the setting is on.

Nothing is counted for it: a scrape looks at what is known anyway. The client library is imported only when it
is needed, and here alone.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pollinator.daemon.checks import check_metrics
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.sync.meter import Durations
from pollinator.daemon.sync.projects import OpenProject, Projects
from pollinator.model.run import MOVES, is_terminal
from pollinator.v1.daemon_pb2 import Check
from pollinator.v1.project_pb2 import Project, ProjectState
from pollinator.v1.run_pb2 import OutcomeReason, RunState

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

SCRAPE_S = 5.0
"""Longest time a scrape waits for the loop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: str
    """``gauge``, ``counter`` or ``histogram``."""
    labels: tuple[str, ...]
    text: str


_PROJECT = ("project", "root")

TABLE = (
    Family("pollinator_build_info", "gauge", ("version",), "1, with the version as a label"),
    Family("pollinator_project_state", "gauge", (*_PROJECT, "state"), "1 for the state the project is in"),
    Family("pollinator_project_files", "gauge", _PROJECT, "regular files in src and data"),
    Family("pollinator_project_bytes", "gauge", _PROJECT, "their bytes"),
    Family("pollinator_project_backlog_files", "gauge", _PROJECT, "files that are not in the store yet"),
    Family("pollinator_project_backlog_bytes", "gauge", _PROJECT, "bytes that are not in the store yet"),
    Family("pollinator_project_read_bytes_total", "counter", _PROJECT, "bytes of files that were read"),
    Family("pollinator_project_sent_bytes_total", "counter", _PROJECT, "bytes the store took, as stored"),
    Family(
        "pollinator_project_requests_total", "counter", _PROJECT, "requests to the store, repeats included"
    ),
    Family(
        "pollinator_project_retries_total", "counter", _PROJECT, "requests to the store that were repeats"
    ),
    Family(
        "pollinator_project_errors_total", "counter", (*_PROJECT, "reason"), "what went wrong, by its reason"
    ),
    Family("pollinator_project_missed_changes_total", "counter", _PROJECT, "changes that the watcher missed"),
    Family(
        "pollinator_project_watch_info",
        "gauge",
        (*_PROJECT, "kind"),
        "1 for the kind of watcher, if there is one",
    ),
    Family("pollinator_project_watch_degraded", "gauge", _PROJECT, "1 when watching is not at its best"),
    Family(
        "pollinator_project_last_sync_timestamp_seconds", "gauge", _PROJECT, "when all was in the store last"
    ),
    Family("pollinator_project_seal_seconds", "histogram", _PROJECT, "how long seals took"),
    Family("pollinator_runs", "gauge", ("state",), "runs that have not ended, by state"),
    Family(
        "pollinator_runs_ended_total",
        "counter",
        ("state", "reason"),
        "runs that ended since the daemon started, by state and reason",
    ),
)
"""All metrics, in the order in which they are shown. The library adds those of the process."""

Sample = tuple[tuple[str, ...], "float | Durations"]
"""Values of a family's labels, and the value."""

Samples = Mapping[str, list[Sample]]
"""By name of the family."""


async def look(projects: Projects, runs: RunLog) -> Samples:
    """All values at this moment; to be called on the loop."""
    found: dict[str, list[Sample]] = {family.name: [] for family in TABLE}
    found["pollinator_build_info"].append(((importlib.metadata.version("pollinatord"),), 1))
    for project in projects.all():
        state = project.describe()
        for name, more, value in _of_project(project, state):
            found[f"pollinator_project_{name}"].append(((state.name, state.root, *more), value))
    active = [run.state for run in runs.active()]
    for run_state in MOVES:
        if not is_terminal(run_state):
            found["pollinator_runs"].append(((_run_word(run_state),), active.count(run_state)))
    for (run_state, reason), count in runs.ended.items():
        labels = _run_word(run_state), _word(OutcomeReason.Name(reason), "OUTCOME_REASON_")
        found["pollinator_runs_ended_total"].append((labels, count))
    return found


def _of_project(
    project: OpenProject, state: Project
) -> Iterator[tuple[str, tuple[str, ...], float | Durations]]:
    worker = project.worker
    yield "state", (_word(ProjectState.Name(state.state), "PROJECT_STATE_"),), 1
    yield "files", (), state.files
    yield "bytes", (), state.bytes
    yield "backlog_files", (), state.backlog_files
    yield "backlog_bytes", (), state.backlog_bytes
    yield "read_bytes_total", (), state.activity.bytes_read
    yield "sent_bytes_total", (), state.activity.bytes_sent
    yield "requests_total", (), worker.store.requests
    yield "retries_total", (), worker.store.retries
    for reason, count in worker.errors.items():
        yield "errors_total", (reason,), count
    yield "missed_changes_total", (), state.missed_changes
    if state.watching:
        yield "watch_info", (state.watching,), 1
    yield "watch_degraded", (), bool(state.degraded)
    if state.HasField("last_sync_time"):
        yield "last_sync_timestamp_seconds", (), state.last_sync_time.ToNanoseconds() / 1e9
    yield "seal_seconds", (), worker.meter.seals


def _run_word(state: RunState.ValueType) -> str:
    return _word(RunState.Name(state), "RUN_STATE_")


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


class MetricsServer:
    """Answers scrapes from threads of its own, and asks the loop for the values."""

    def __init__(self, address: tuple[str, int], values: Callable[[], Awaitable[Samples]]) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

        self._values = values
        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        host, port = address
        self._server, self._thread = start_http_server(port, host, registry)
        self.port = self._server.server_port

    def describe(self) -> Iterable[Metric]:
        """Registering must not scrape: the loop is busy with that very call."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families with their samples, for one scrape."""
        asked = asyncio.run_coroutine_threadsafe(_awaited(self._values), self._loop)
        samples = asked.result(SCRAPE_S)
        for family in TABLE:
            yield _family(family, samples[family.name])

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def _awaited(values: Callable[[], Awaitable[Samples]]) -> Samples:
    return await values()


def _family(family: Family, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == "histogram":
        times = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, value in samples:
            if isinstance(value, Durations):
                buckets = [
                    ("+Inf" if limit == math.inf else str(limit), count)
                    for limit, count in value.cumulative()
                ]
                times.add_metric(labels, buckets, sum_value=value.total_s)
        return times
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.text, labels=family.labels)
    for labels, value in samples:
        if not isinstance(value, Durations):
            made.add_metric(labels, value)
    return made


class Metrics:
    """Serves the values at ``HOST:PORT`` until the end of the block; with no address it does nothing.

    When the address cannot be had, the log and ``doctor`` say so, and work goes on.
    """

    def __init__(self, address: str, projects: Projects, runs: RunLog) -> None:
        self._address = address
        self._projects = projects
        self._runs = runs
        self._server: MetricsServer | None = None
        self._trouble = ""

    def checks(self) -> list[Check]:
        """For ``pollinator doctor``."""
        return [check_metrics(self._address, self._trouble)] if self._address else []

    def __enter__(self) -> Self:
        """Begin to serve."""
        if not self._address:
            return self
        host, _, port = self._address.rpartition(":")
        try:
            self._server = MetricsServer((host.strip("[]"), int(port)), self._look)
        except OSError as error:
            self._trouble = error.strerror or str(error)
            _log.error("no metrics at %s: %s", self._address, self._trouble)
        else:
            self._address = f"{host}:{self._server.port}"
            _log.info("metrics at http://%s/metrics", self._address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()

    async def _look(self) -> Samples:
        return await look(self._projects, self._runs)
