"""The environment every rank sees, whatever the backend."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pollinator.executors.base import Job

HIDDEN = ("AWS_", "COLONIES_", "POLLINATOR_", "GRPC_", "PYTHONPATH", "PYTHONHOME")
"""What the executor's own environment holds and a rank must not see."""

CONTRACT = frozenset(
    {
        *(
            "POLLINATOR_RUN_ID",
            "POLLINATOR_PROJECT",
            "POLLINATOR_SRC",
            "POLLINATOR_DATA",
            "POLLINATOR_RESULT",
        ),
        *("POLLINATOR_NODE_RANK", "POLLINATOR_NNODES", "POLLINATOR_NODELIST"),
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("PROJECT_DIR", "COLONIES_PROCESS_ID"),
    }
)
"""What every rank gets, so that no spec may set it."""


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a rank runs."""

    rank: int
    node_rank: int
    local_rank: int
    nodes: Sequence[str]
    master_address: str
    master_port: int


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a rank inherits from the machine."""
    return {name: value for name, value in environ.items() if not name.startswith(HIDDEN)}


def rank_environment(job: Job, place: RankPlace, work: str = "") -> dict[str, str]:
    """The contract: names for Pollinator, for frameworks, and for projects of the original.

    Args:
        job: the run.
        place: of the rank.
        work: the working folder as the rank sees it, if that is another one.
    """
    spec, work = job.spec, work or str(job.work)
    contract = {
        "POLLINATOR_RUN_ID": job.known_as,
        "POLLINATOR_PROJECT": spec.project,
        "POLLINATOR_SRC": f"{work}/src",
        "POLLINATOR_DATA": f"{work}/data",
        "POLLINATOR_RESULT": f"{work}/result",
        "POLLINATOR_NODE_RANK": str(place.node_rank),
        "POLLINATOR_NNODES": str(spec.nodes),
        "POLLINATOR_NODELIST": ",".join(place.nodes),
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "WORLD_SIZE": str(job.ranks),
        "LOCAL_WORLD_SIZE": str(spec.processes_per_node),
        "MASTER_ADDR": place.master_address,
        "MASTER_PORT": str(place.master_port),
        "PROJECT_DIR": work,
        "COLONIES_PROCESS_ID": job.source.origin.process_id or job.run_id,
    }
    # Output is followed while it is written, so it must not wait in a buffer.
    usual = {"PYTHONUNBUFFERED": "1"}
    return usual | {variable.name: variable.value for variable in spec.environment} | contract
