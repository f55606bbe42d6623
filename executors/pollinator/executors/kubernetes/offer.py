"""What the machines of a cluster offer, as far as we may know: asked seldom, and again after a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.companions import CPU_MILLIS, MEMORY_BYTES
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.settings import ANY_GPU, Accelerator, Site
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.documents import as_entries, as_entry
from pollinator.wire.errors import Denied, PollinatorError, Violation

FRESH_S = 600.0
AGAIN_S = 60.0
FIRST_S = 1.0
_UNITS: Mapping[str, int | Decimal] = {
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)},
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Machine:
    """One that takes pods."""

    cpu_millis: int
    memory_bytes: int
    resources: Mapping[str, int] = field(default_factory=dict[str, int])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    runtime: str = ""

    def has(self, gpu: Accelerator) -> int:
        """How many of these GPUs are in it."""
        if gpu.label is not None and self.labels.get(gpu.label[0]) != gpu.label[1]:
            return 0
        return self.resources.get(gpu.resource, 0)


class Offer:
    """What one cluster offers to runs with these settings."""

    def __init__(self, api: Api, site: Site) -> None:
        self._api = api
        self._site = site
        self._machines: list[Machine] = []
        self._hidden = False
        self._version = ""
        self._again = asyncio.Event()

    @property
    def machines(self) -> list[Machine] | None:
        """Those that runs can have; empty where nobody knows yet, and None where it is not ours to know."""
        return None if self._hidden else self._machines

    def capabilities(self) -> Capabilities:
        """Limits: what the largest machine has."""
        found = Capabilities(
            cpu_millis=max((each.cpu_millis for each in self._machines), default=0),
            memory_bytes=max((each.memory_bytes for each in self._machines), default=0),
            nodes=len(self._machines),
            gpus=[
                name
                for name, gpu in self._site.gpus.items()
                if name != ANY_GPU and (not self._machines or any(each.has(gpu) for each in self._machines))
            ],
            container_engines=sorted({each.runtime for each in self._machines if each.runtime})
            or ["kubernetes"],
        )
        if self._version:
            found.cluster.version = f"kubernetes {self._version}"
        return found

    def wrong(self, spec: RunSpec, gpu: Accelerator | None) -> list[Violation]:
        """What no machine can ever have room for."""
        wrong = list(self._too_much(spec, gpu))
        if wrong:
            # A larger one may have come.
            self._again.set()
        return wrong

    def _too_much(self, spec: RunSpec, gpu: Accelerator | None) -> Iterator[Violation]:
        if not self._machines:
            return
        most = self.capabilities()
        if spec.cpu_millis > most.cpu_millis:
            yield Violation(
                "conditions.cpu", f"no node has so many cores; the largest has {cores(most.cpu_millis)}"
            )
        if spec.memory_bytes > most.memory_bytes:
            yield Violation(
                "conditions.mem", f"no node has so much; the largest has {size(most.memory_bytes)}"
            )
        if gpu is not None and spec.gpu.count > (has := max(each.has(gpu) for each in self._machines)):
            yield Violation("conditions.gpu.count", f"no node has so many; the most is {has}")

    async def run(self) -> NoReturn:
        """Ask, from time to time."""
        pause_s = FIRST_S
        while True:
            self._again.clear()
            try:
                await self._ask()
                # The right to see them may be given at any time: that is what users are told to ask for.
                pause_s = AGAIN_S if self._hidden else FRESH_S
            except PollinatorError as error:
                _log.info("what the cluster offers is not known: %s", error)
                pause_s = min(2 * pause_s, AGAIN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._again.wait()
                    # At most so often, whatever is refused.
                    await asyncio.sleep(min(pause_s, AGAIN_S))

    async def _ask(self) -> None:
        self._version = await self._api.version()
        try:
            found = await self._api.nodes()
            self._hidden = False
        except Denied:
            # An account that sees its namespace alone: then only the scheduler knows what fits.
            found, self._hidden = [], True
        machines = [machine(each) for each in found if _takes_pods(each, self._site.node_selector)]
        self._machines = [_for_ranks(each) for each in machines] if self._site.bucket else machines


def _for_ranks(whole: Machine) -> Machine:
    """What a machine has for ranks where something else is beside them."""
    return replace(
        whole,
        cpu_millis=max(0, whole.cpu_millis - CPU_MILLIS),
        memory_bytes=max(0, whole.memory_bytes - MEMORY_BYTES),
    )


def machine(found: Manifest) -> Machine:
    """Read a node."""
    about, status = as_entry(found.get("metadata")), as_entry(found.get("status"))
    has = {name: quantity(str(value)) for name, value in as_entry(status.get("allocatable")).items()}
    runtime = str(as_entry(status.get("nodeInfo")).get("containerRuntimeVersion", ""))
    return Machine(
        cpu_millis=int(has.get("cpu", 0) * 1000),
        memory_bytes=int(has.get("memory", 0)),
        resources={name: int(count) for name, count in has.items()},
        labels={name: str(value) for name, value in as_entry(about.get("labels")).items()},
        runtime=runtime.partition(":")[0],
    )


def _takes_pods(found: Manifest, selector: Mapping[str, str]) -> bool:
    spec = as_entry(found.get("spec"))
    labels = as_entry(as_entry(found.get("metadata")).get("labels"))
    if spec.get("unschedulable") or any(labels.get(name) != value for name, value in selector.items()):
        return False
    taints = as_entries(spec.get("taints"))
    # Those of GPUs are tolerated by whoever asks for them; those of the control plane by nobody.
    return not any(str(each.get("key", "")).startswith("node-role.kubernetes.io/") for each in taints)


def quantity(text: str) -> Decimal:
    """A number as the cluster writes it: ``500m``, ``16Gi``, ``1e3``; what cannot be read is 0."""
    digits = text.rstrip("KMGTPEkmi")
    try:
        return Decimal(digits) * _UNITS[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return Decimal(0)


def cores(millis: int) -> str:
    """For people."""
    return f"{millis / 1000:g} core{'s' * (millis != 1000)}"


def size(number: int) -> str:
    """For people."""
    for power, letter in ((4, "T"), (3, "G"), (2, "M")):
        if number >= 1024**power:
            return f"{number / 1024**power:.3g} {letter}iB"
    return f"{number} bytes"
