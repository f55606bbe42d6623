"""An executor as lines of text: how it is reached, what it can do, and what its cluster is like."""

from __future__ import annotations

from collections.abc import Iterator

from pollinator.cli.describe import line
from pollinator.cli.table import table_lines
from pollinator.cli.words import duration_text, time_text
from pollinator.v1.executor_pb2 import Capabilities, Cluster, Executor, Partition, Reach

Pairs = Iterator[tuple[str, str]]


def reach_word(executor: Executor) -> str:
    """``connected``, ``needs auth``, ``unreachable``, ``connecting`` or ``idle``."""
    return Reach.Name(executor.reach).removeprefix("REACH_").lower().replace("_", " ")


def describe_executor(executor: Executor) -> list[str]:
    """What an executor is and can do."""
    groups = (_identity(executor), _offer(executor.capabilities), _cluster(executor.capabilities.cluster))
    lines = [line(name, value) for group in groups for name, value in group if value]
    if executor.capabilities.cluster.partitions:
        lines += ["", *_partition_lines(executor.capabilities.cluster)]
    return lines


def trouble_line(executor: Executor) -> str:
    """One line about an executor that cannot be reached, or empty."""
    if executor.reach not in (Reach.REACH_NEEDS_AUTH, Reach.REACH_UNREACHABLE):
        return ""
    return f"{executor.name}: {reach_word(executor)}: {executor.fix or trouble(executor)}"


def trouble(executor: Executor) -> str:
    """What is the matter, without the name and the address, which stand beside it."""
    detail = executor.health_detail.removeprefix(f"executor {executor.name} at {executor.address} ")
    return ": ".join(detail.splitlines())


def runs_text(executor: Executor) -> str:
    """How many runs it has; nobody knows that of one that is not reached."""
    known = executor.reach in (Reach.REACH_CONNECTED, Reach.REACH_IDLE)
    return str(executor.active_runs) if known else "-"


def _identity(executor: Executor) -> Pairs:
    health = "healthy" if executor.healthy else "does not answer"
    yield "executor", executor.name
    yield "kind", executor.kind
    yield "health", f"{health}: {executor.health_detail}" if executor.health_detail else health
    yield "reach", reach_word(executor)
    yield "what to do", executor.fix
    yield "version", executor.version
    yield "address", executor.address
    yield "settings", "\n".join(f"{name}={executor.settings[name]}" for name in sorted(executor.settings))
    yield "active runs", runs_text(executor)


def _offer(offer: Capabilities) -> Pairs:
    yield "cores", f"{offer.cpu_millis / 1000:g}" if offer.cpu_millis else ""
    yield "memory", _memory(offer.memory_bytes) if offer.memory_bytes else ""
    yield "memory limited by", offer.memory_source
    yield "nodes", str(offer.nodes) if offer.nodes else ""
    yield "gpus", ", ".join(offer.gpus)
    yield "container engines", ", ".join(offer.container_engines)
    yield "features", ", ".join(offer.features)


def _cluster(cluster: Cluster) -> Pairs:
    yield "cluster", cluster.version
    if not cluster.version:
        return
    yield "accounts", ", ".join(cluster.accounts)
    yield "qos", ", ".join(cluster.qos)
    if not cluster.version.startswith("slurm"):
        return
    yield "accounting", "yes" if cluster.accounting else "no: what ended is known from the runs themselves"
    yield "json", "yes" if cluster.json else "no"
    yield "as of", time_text(cluster.probe_time) if cluster.HasField("probe_time") else ""


def _partition_lines(cluster: Cluster) -> list[str]:
    header = ["PARTITION", "UP", "NODES", "PER RUN", "TIME", "CORES", "MEMORY", "GPUS"]
    return table_lines(header, [_row(each) for each in cluster.partitions], colour=False)


def _memory(count: int) -> str:
    """Exact enough that nobody asks for more than there is."""
    return f"{count / (1 << 30):.2f} GiB" if count else "-"


def _row(partition: Partition) -> list[str]:
    walltime = duration_text(partition.max_walltime_ms / 1000) if partition.max_walltime_ms else "unlimited"
    gpus = ", ".join(f"{count} {name}" for name, count in sorted(partition.gpus.items()))
    return [
        partition.name,
        "yes" if partition.up else "no",
        str(partition.nodes),
        str(partition.max_nodes or "any"),
        walltime,
        f"{partition.cpu_millis / 1000:g}",
        _memory(partition.memory_bytes),
        gpus or "-",
    ]
