"""What a cluster offers: asked once, kept in a file with its age, and asked again in the background.

Only programs that every user may run are asked. What one of them does not tell is left empty, not guessed.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pollinator.executors.records import write_json
from pollinator.executors.slurm.commands import Commands
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.executor_pb2 import Cluster as Told
from pollinator.v1.executor_pb2 import Partition as ToldPartition
from pollinator.wire.errors import PollinatorError, Unavailable

_log = logging.getLogger(__name__)

UNTYPED = "gpu"
"""What GPUs are called whose model the cluster does not name."""
FORMAT = 2
"""Of the file; one that is kept in another is asked for anew."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Nodes:
    """So many nodes of one kind."""

    count: int
    cores: int
    memory_bytes: int
    gpus: dict[str, int]
    """By model."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition and its limits; 0 is unlimited or not set."""

    name: str
    default: bool
    up: bool
    max_walltime_s: int
    default_walltime_s: int
    min_nodes: int
    max_nodes: int
    max_memory_bytes: int
    """On one node."""
    accounts: tuple[str, ...]
    """Those that it admits; empty admits all."""
    qos: tuple[str, ...]
    """The same for qualities of service."""
    reserved: bool
    """It takes only jobs of a reservation, or of root."""
    kinds: tuple[Nodes, ...]

    @property
    def nodes(self) -> int:
        """How many there are."""
        return sum(kind.count for kind in self.kinds)

    @property
    def cores(self) -> int:
        """Of its largest node."""
        return max((kind.cores for kind in self.kinds), default=0)

    @property
    def memory_bytes(self) -> int:
        """What a job may have on its largest node."""
        most = max((kind.memory_bytes for kind in self.kinds), default=0)
        return min(most, self.max_memory_bytes) if self.max_memory_bytes else most

    @property
    def gpus(self) -> dict[str, int]:
        """Most on one node, by model."""
        found: dict[str, int] = {}
        for kind in self.kinds:
            for model, count in kind.gpus.items():
                found[model] = max(found.get(model, 0), count)
        return found


@dataclass(frozen=True, slots=True)
class Probe:
    """A cluster as it was when it was asked."""

    asked_at: float
    version: str
    partitions: tuple[Partition, ...]
    """The default one first."""
    accounts: tuple[str, ...]
    qos: tuple[str, ...]
    accounting: bool
    json: bool
    names: dict[str, tuple[str, ...]]
    """All there are of ``partition``, ``account`` and ``qos``, as far as Slurm takes no other for certain."""

    def told(self) -> Told:
        """The same for clients."""
        told = Told(
            version=f"slurm {self.version}",
            accounts=self.accounts,
            qos=self.qos,
            accounting=self.accounting,
            json=self.json,
            partitions=[
                ToldPartition(
                    name=each.name,
                    max_walltime_ms=each.max_walltime_s * 1000,
                    nodes=each.nodes,
                    max_nodes=each.max_nodes,
                    cpu_millis=each.cores * 1000,
                    memory_bytes=each.memory_bytes,
                    gpus=each.gpus,
                    up=each.up,
                )
                for each in self.partitions
            ],
        )
        told.probe_time.FromMilliseconds(round(self.asked_at * 1000))
        return told

    def capabilities(self) -> Capabilities:
        """Limits over all partitions."""
        return Capabilities(
            cpu_millis=max((each.cores * 1000 for each in self.partitions), default=0),
            memory_bytes=max((each.memory_bytes for each in self.partitions), default=0),
            nodes=max((each.max_nodes or each.nodes for each in self.partitions), default=0),
            gpus=sorted({model for each in self.partitions for model in each.gpus}),
            cluster=self.told(),
        )


# Asking


async def probe(commands: Commands, now: float) -> Probe:
    """Ask the cluster what it offers.

    Raises:
        PollinatorError: it does not answer, or there is none.
    """
    partitions = await commands.ask("scontrol", "-o", "show", "partition")
    nodes = await commands.ask("sinfo", "-h", "-e", "-o", "%R|%D|%c|%m|%G")
    kinds = _kinds(nodes)
    found = [_partition(fields, kinds) for fields in _shown(partitions)]
    if not found:
        raise Unavailable("Slurm tells of no partition", reason="slurm_garbled")
    accounts, qos = await _associations(commands)
    return Probe(
        asked_at=now,
        version=_version(await commands.ask("sinfo", "--version")),
        partitions=tuple(sorted(found, key=lambda each: not each.default)),
        accounts=accounts,
        qos=qos,
        accounting=await _accounting(commands),
        json="--json" in await commands.ask("sinfo", "--help"),
        names=await _names(commands, accounts),
    )


async def _associations(commands: Commands) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Accounts and qualities of service of this user; empty where that cannot be told."""
    try:
        # Not by pwd: a directory of users that is down must not hold up everything.
        user = (await commands.ask("id", "-un")).strip()
        question = ("-n", "-P", "show", "assoc", "where", f"user={user}", "format=Account,QOS")
        text = await commands.ask("sacctmgr", *question)
    except PollinatorError as error:
        _log.info("no accounts are known: %s", error)
        return (), ()
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 1]
    accounts = {account for account, _ in rows if account}
    qos = {each for _, several in rows for each in several.split(",") if each}
    return tuple(sorted(accounts)), tuple(sorted(qos))


async def _names(commands: Commands, accounts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Names that are good for a job. What cannot be told for certain is left to sbatch to judge."""
    try:
        config = _config(await commands.ask("scontrol", "show", "config"))
        if not _HARMLESS.issuperset(_listed(config.get("JobSubmitPlugins", "lua"))):
            # The site's own program may make another name of any.
            return {}
        # With those that are hidden from this user: a job may name them.
        shown = _shown(await commands.ask("scontrol", "-a", "-o", "show", "partition"))
        found = {"partition": tuple(fields["PartitionName"] for fields in shown)}
        enforced = _listed(config.get("AccountingStorageEnforce", ""))
        if accounts and "associations" in enforced:
            found["account"] = accounts
        if "qos" in enforced:
            # All: an operator may use those of others.
            text = await commands.ask("sacctmgr", "-n", "-P", "show", "qos", "format=Name")
            found["qos"] = tuple(text.split())
    except PollinatorError as error:
        _log.info("names are for sbatch to judge: %s", error)
        return {}
    return {kind: names for kind, names in found.items() if names}


_HARMLESS = frozenset({"all_partitions", "defaults", "logging", "require_timelimit", "throttle"})
"""Plugins of Slurm itself that refuse jobs or fill in what is not named."""


def _config(text: str) -> dict[str, str]:
    """Settings of ``scontrol show config``, as ``Name   = value``."""
    pairs = [line.partition("=") for line in text.splitlines()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _listed(text: str) -> tuple[str, ...]:
    """Words of a setting; Slurm writes an empty one in several ways."""
    return (
        () if text in ("", "(null)", "none") else tuple(re.split(r"[,\s]+", text.replace("job_submit/", "")))
    )


async def _accounting(commands: Commands) -> bool:
    try:
        await commands.ask("sacct", "-n", "-X", "-P", "--starttime=now", "--format=JobIDRaw")
    except Unavailable:
        # It is there, and down for the moment.
        return True
    except PollinatorError:
        return False
    return True


def _version(text: str) -> str:
    found = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return found.group() if found else text.strip()


def _shown(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        fields = {name: value for name, _, value in (word.partition("=") for word in line.split())}
        if fields.get("PartitionName"):
            yield fields


def _partition(fields: dict[str, str], kinds: dict[str, list[Nodes]]) -> Partition:
    return Partition(
        name=fields["PartitionName"],
        default=fields.get("Default") == "YES",
        up=fields.get("State") == "UP",
        max_walltime_s=seconds(fields.get("MaxTime", "")),
        default_walltime_s=seconds(fields.get("DefaultTime", "")),
        min_nodes=_number(fields.get("MinNodes", "")),
        max_nodes=_number(fields.get("MaxNodes", "")),
        max_memory_bytes=_number(fields.get("MaxMemPerNode", "")) * _MIB,
        accounts=_admitted(fields.get("AllowAccounts", "ALL")),
        qos=_admitted(fields.get("AllowQos", "ALL")),
        reserved="YES" in (fields.get("ReqResv"), fields.get("RootOnly")),
        kinds=tuple(kinds.get(fields["PartitionName"], ())),
    )


def _kinds(text: str) -> dict[str, list[Nodes]]:
    """Nodes by partition, as sinfo printed them: those of one kind on a line."""
    found: dict[str, list[Nodes]] = {}
    for line in text.splitlines():
        if line.count("|") < 4:
            raise Unavailable(f"sinfo prints what cannot be read: {line[:100]!r}", reason="slurm_garbled")
        name, count, cores, memory, gres = line.split("|", 4)
        nodes = Nodes(_number(count), _number(cores), _number(memory) * _MIB, gpus(gres))
        found.setdefault(name, []).append(nodes)
    return found


_GRES = re.compile(r"(?:^|,)gpu(?::(?P<model>[^:,()]*[^:,()\d][^:,()]*))?:(?P<count>\d+)")


def gpus(gres: str) -> dict[str, int]:
    """GPUs by model, of ``gpu:a100:4(S:0-1),gpu:v100:2,license:3``."""
    found: dict[str, int] = {}
    for each in _GRES.finditer(gres):
        model = each["model"] or UNTYPED
        found[model] = found.get(model, 0) + int(each["count"])
    return found


def seconds(text: str) -> int:
    """Seconds of ``D-HH:MM:SS``, ``HH:MM:SS``, ``MM:SS`` or minutes; 0 for a word such as ``UNLIMITED``."""
    days, dash, clock = text.partition("-")
    if not dash:
        days, clock = "0", text
    parts = clock.split(":")
    if not all(part.isdigit() for part in [days, *parts]):
        return 0
    numbers = [int(part) for part in parts]
    if dash:
        # Here hours come first, however many parts there are.
        hours, minutes, rest = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, rest = numbers
    else:
        hours, minutes, rest = 0, *(*numbers, 0)[:2]
    return ((int(days) * 24 + hours) * 60 + minutes) * 60 + rest


def _number(text: str) -> int:
    """The number at the beginning; 0 for ``UNLIMITED``. sinfo prints ``2+`` for several."""
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _admitted(text: str) -> tuple[str, ...]:
    return () if text in ("ALL", "", "(null)", "N/A") else tuple(text.split(","))


# Keeping


def kept(path: Path) -> Probe | None:
    """The answer that was kept; None where there is none that can be read."""
    try:
        written: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if written.pop("format") != FORMAT:
            return None
        written["partitions"] = tuple(_partition_kept(each) for each in written["partitions"])
        written["names"] = {kind: tuple(names) for kind, names in written["names"].items()}
        return Probe(**_tuples(written))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.warning("what is kept of the cluster cannot be read, and is asked for anew: %s", error)
        return None


def _partition_kept(written: dict[str, Any]) -> Partition:
    written["kinds"] = tuple(Nodes(**each) for each in written["kinds"])
    return Partition(**_tuples(written))


def _tuples(written: dict[str, Any]) -> dict[str, Any]:
    """With the lists that JSON made of them as tuples again."""
    return written | {name: tuple(written[name]) for name in ("accounts", "qos")}


def keep(path: Path, found: Probe) -> None:
    """Keep an answer for the next start."""
    write_json(path, {"format": FORMAT, **asdict(found)})
