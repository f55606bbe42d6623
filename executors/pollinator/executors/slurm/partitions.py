"""Which partition a run goes to, and what it should know of it: decided by what the probe told."""

from __future__ import annotations

from collections.abc import Sequence

from pollinator.executors.slurm.probe import UNTYPED, Nodes, Partition, Probe
from pollinator.model.document import suggestion
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import SHOW_EXECUTOR, InvalidInput, Violation

MOST_SHOWN = 3
"""Partitions that a refusal names: clusters have dozens."""
_GIB = 1 << 30


def choose(probe: Probe, spec: RunSpec) -> str:
    """The partition for a run: the one it names, the default one if it fits, else the smallest that is up.

    Returns:
        Its name. Empty leaves the choice to Slurm.

    Raises:
        InvalidInput: the run fits into none, and what is too much for the nearest ones; or it names what
            is not there.
    """
    _check_names(probe, spec)
    if wish := spec.slurm.partition:
        # One that is hidden, or several with commas between, are for sbatch to judge.
        named = [each for each in probe.partitions if each.name == wish]
        if named and (lacks := lacking(named[0], spec, probe.accounts)):
            wrong = [Violation("slurm.partition", f"{wish}: {lacks}")]
            raise _refusal("this run does not fit into the partition that it names", wrong)
        return wish
    fitting = [each for each in probe.partitions if not lacking(each, spec, probe.accounts)]
    for each in fitting:
        if each.default and each.up:
            return each.name
    if up := [each for each in fitting if each.up and not each.reserved]:
        return min(up, key=_size).name
    raise _refusal("this run fits into no partition of the cluster", _nearest(probe, spec))


def lacking(partition: Partition, spec: RunSpec, accounts: tuple[str, ...] = ()) -> str:
    """What is too much for a partition, as ``walltime 2 h is above 30 min``; or empty.

    Args:
        partition: the partition.
        spec: the run.
        accounts: those of the user, as far as that is known.
    """
    wrong = [*_limits(partition, spec), *_hardware(partition, spec), *_admission(partition, spec, accounts)]
    return "; ".join(wrong)


def notices(probe: Probe, spec: RunSpec, name: str) -> list[Notice]:
    """What the user should know about a run in this partition."""
    found = [each for each in probe.partitions if each.name == name]
    if not found:
        return []
    partition, texts = found[0], dict[str, str]()
    if not spec.walltime_ms:
        if partition.default_walltime_s:
            given = f"gives it {duration(partition.default_walltime_s)}"
        elif partition.max_walltime_s:
            given = f"gives it the longest it allows, {duration(partition.max_walltime_s)}"
        else:
            given = ""
        if given:
            texts["walltime_default"] = f"no conditions.walltime is set: partition {name} {given}"
    if not partition.up:
        texts["partition_down"] = f"partition {name} is down now: the run waits until it is up again"
    warning = Severity.SEVERITY_WARNING
    return [Notice(severity=warning, code=code, text=text) for code, text in texts.items()]


def gpu_model(probe: Probe, spec: RunSpec) -> str:
    """The model of GPU as this cluster spells it; empty where any will do, or its models have no names."""
    known = {model.lower(): model for each in probe.partitions for model in each.gpus if model != UNTYPED}
    return known.get(spec.gpu.name.lower(), spec.gpu.name)


def duration(seconds: int) -> str:
    """Seconds for people: ``30 min``, ``2 h``, ``1 h 30 min``, ``3 days``."""
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, minutes = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [f"{days} day{'s' * (days > 1)}" * bool(days), f"{hours} h" * bool(hours)]
    return " ".join(part for part in [*parts, f"{minutes} min" * bool(minutes)] if part)


def size(count: int) -> str:
    """Bytes for people: ``64 GiB``, ``1.5 GiB``, ``900 MiB``."""
    return f"{count / _GIB:.3g} GiB" if count >= _GIB else f"{count / (1 << 20):.4g} MiB"


def allowance(partition: Partition) -> str:
    """What a partition allows, on one line."""
    time = duration(partition.max_walltime_s) if partition.max_walltime_s else "any time"
    parts = [
        time,
        _count(_most_nodes(partition)),
        f"{partition.cores} cores and {size(partition.memory_bytes)} each",
    ]
    parts += [f"{count} x {model} GPU" for model, count in sorted(partition.gpus.items())]
    return ", ".join(parts) + ("" if partition.up else ", down now")


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _most_nodes(partition: Partition) -> int:
    return min(partition.max_nodes or partition.nodes, partition.nodes)


def _check_names(probe: Probe, spec: RunSpec) -> None:
    """Refuse names that are not there; those that only sbatch can judge pass."""
    named = {"partition": spec.slurm.partition, "account": spec.slurm.account, "qos": spec.slurm.qos}
    wrong = [
        Violation(
            f"slurm.{kind}", f"there is no {_KINDS[kind]} {name!r}{suggestion(name, _offered(probe, kind))}"
        )
        for kind, text in named.items()
        if kind in probe.names
        for name in filter(None, text.split(","))
        if name not in probe.names[kind]
    ]
    if wrong:
        raise InvalidInput(
            "this run names what the cluster does not have",
            reason="cannot_run_here",
            hint=f"what there is: {SHOW_EXECUTOR}",
            violations=wrong,
        )


_KINDS = {"partition": "partition", "account": "account of yours", "qos": "QoS"}


def _offered(probe: Probe, kind: str) -> Sequence[str]:
    """Those that a user should take, which are not all that exist."""
    match kind:
        case "partition":
            return [each.name for each in probe.partitions if not each.reserved]
        case "qos":
            return probe.qos or probe.names[kind]
        case _:
            return probe.names[kind]


def _nearest(probe: Probe, spec: RunSpec) -> list[Violation]:
    """Why the partitions refuse a run that come nearest to what it asks for, and how many more do."""
    by_distance = sorted(probe.partitions, key=lambda each: _distance(each, spec, probe.accounts))
    shown = [Violation(each.name, _why(each, spec, probe.accounts)) for each in by_distance[:MOST_SHOWN]]
    more = len(by_distance) - len(shown)
    return shown + ([Violation(f"{more} more", "further from what it asks for")] if more else [])


def _distance(partition: Partition, spec: RunSpec, accounts: tuple[str, ...]) -> tuple[bool, float, str]:
    """Closed ones last; else how many times more the run asks for than there is, of what is shortest."""
    closed = partition.reserved or not partition.up or bool(_admission(partition, spec, accounts))
    pairs = (
        (spec.walltime_ms, partition.max_walltime_s * 1000 or float("inf")),
        (spec.nodes, _most_nodes(partition)),
        (spec.cpu_millis, partition.cores * 1000),
        (spec.memory_bytes, partition.memory_bytes),
        (spec.gpu.count, _gpus_there(partition.gpus, spec)),
    )
    times = [asked / there if there else float("inf") for asked, there in pairs if asked]
    return closed, max(times, default=0.0), partition.name


def _why(partition: Partition, spec: RunSpec, accounts: tuple[str, ...]) -> str:
    lacks = lacking(partition, spec, accounts)
    closed = "is reserved" if partition.reserved else "" if partition.up else "is down now"
    return "; ".join(filter(None, [lacks, closed]))


def _refusal(text: str, violations: Sequence[Violation]) -> InvalidInput:
    return InvalidInput(
        text,
        reason="cannot_run_here",
        hint=f"all limits: {SHOW_EXECUTOR}",
        violations=violations,
    )


def _size(partition: Partition) -> tuple[float, float, int, str]:
    """Small ones first: a run should not take the place of those that need more."""
    return (
        partition.max_walltime_s or float("inf"),
        partition.max_nodes or float("inf"),
        sum(partition.gpus.values()) * _GIB * _GIB + partition.memory_bytes,
        partition.name,
    )


def _limits(partition: Partition, spec: RunSpec) -> list[str]:
    wrong: list[str] = []
    if partition.max_walltime_s and spec.walltime_ms > partition.max_walltime_s * 1000:
        allowed, asked = duration(partition.max_walltime_s), duration(-(-spec.walltime_ms // 1000))
        wrong.append(f"walltime {asked} is above {allowed}")
    if spec.nodes > _most_nodes(partition):
        wrong.append(f"{_count(spec.nodes)} is above {_most_nodes(partition)}")
    if spec.nodes < partition.min_nodes:
        wrong.append(f"{_count(spec.nodes)} is below {partition.min_nodes}")
    return wrong


def _hardware(partition: Partition, spec: RunSpec) -> list[str]:
    """One thing at a time, so that what is named is what is missing."""
    cores = -(-spec.cpu_millis // 1000)
    if cores > partition.cores:
        return [f"{cores} cores is above {partition.cores} on its largest node"]
    if spec.memory_bytes > partition.memory_bytes:
        have, asked = size(partition.memory_bytes), size(spec.memory_bytes)
        return [f"{asked} of memory is above {have} on its largest node"]
    if spec.gpu.count > _gpus_there(partition.gpus, spec):
        have = ", ".join(f"{count} x {model}" for model, count in sorted(partition.gpus.items()))
        asked = f"{spec.gpu.count} x {spec.gpu.name or 'any'}"
        return [f"GPU {asked} is not there, {have or 'none'} on its largest node"]
    enough = sum(kind.count for kind in partition.kinds if _suffices(kind, spec, cores))
    if enough < spec.nodes <= _most_nodes(partition):
        return [f"{_count(spec.nodes)} is above {enough} that have all that is asked for"]
    return []


def _suffices(kind: Nodes, spec: RunSpec, cores: int) -> bool:
    if kind.cores < cores or kind.memory_bytes < spec.memory_bytes:
        return False
    return spec.gpu.count <= _gpus_there(kind.gpus, spec)


def _gpus_there(there: dict[str, int], spec: RunSpec) -> int:
    """How many on one node there are of the model that is wished."""
    wish = spec.gpu.name.lower()
    if not wish:
        return sum(there.values())
    return {model.lower(): count for model, count in there.items()}.get(wish, 0)


def _admission(partition: Partition, spec: RunSpec, accounts: tuple[str, ...]) -> list[str]:
    wrong: list[str] = []
    account, qos = spec.slurm.account, spec.slurm.qos
    if account and partition.accounts and account not in partition.accounts:
        wrong.append(f"account {account} is not admitted")
    if not account and accounts and partition.accounts and not set(accounts) & set(partition.accounts):
        wrong.append(f"none of your accounts is admitted ({', '.join(accounts)})")
    if qos and partition.qos and qos not in partition.qos:
        wrong.append(f"QoS {qos} is not admitted")
    return wrong
