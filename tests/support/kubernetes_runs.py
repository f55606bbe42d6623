"""An executor for one cluster of a test, with its state on the volume there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pollinator.executors.conformance.client import Followed
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from support.executing import ExecutorProcess, Profile
from support.kubernetes.sites import Site
from support.sandbox import Sandbox


@asynccontextmanager
async def executor_in(
    cluster: Site,
    settings: Mapping[str, str] | None = None,
    *,
    kubeconfig: Path | None = None,
    dies_at: str = "",
    **environment: str,
) -> AsyncGenerator[ExecutorProcess]:
    """One whose runs have their files on the volume of the cluster.

    Args:
        cluster: the namespace.
        settings: further ones of the executor.
        kubeconfig: who it is there, where that is not the administrator.
        dies_at: the point at which it is killed.
        environment: further variables of its process.
    """
    known = {
        "kubernetes.claim": cluster.claim,
        "kubernetes.mount": str(cluster.folder),
        "kubernetes.image": cluster.image,
    }
    profile = Profile(
        kind="kubernetes",
        settings=known | dict(settings or {}),
        environment=lambda: {"KUBECONFIG": str(kubeconfig or cluster.kubeconfig)},
        own_pids=True,
    )
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    state = cluster.folder / "x"
    state.mkdir(mode=0o700, exist_ok=True)
    (box.folder / "x").symlink_to(state)
    under_test = ExecutorProcess("kubernetes", box, {"image": cluster.image}, profile)
    under_test.state = state
    try:
        await under_test.start(dies_at=dies_at, **environment)
        yield under_test
    finally:
        await under_test.close()


async def nothing_left(cluster: Site) -> None:
    """Return once the namespace holds nothing of runs."""
    async with asyncio.timeout(60):
        while await asyncio.to_thread(cluster.left):  # noqa: ASYNC110 - far away
            await asyncio.sleep(0.1)


def ended(followed: Followed) -> tuple[str, str, int]:
    """State, reason and exit code."""
    run = followed.run
    state = RunState.Name(run.state).removeprefix("RUN_STATE_")
    return (
        state,
        OutcomeReason.Name(run.outcome.reason).removeprefix("OUTCOME_REASON_"),
        run.outcome.exit_code,
    )


async def explained(executor: ExecutorProcess, run: str, code: str, words: str = "") -> str:
    """What is said of a run that waits, once it is this, with these words in it."""
    async with asyncio.timeout(60):
        while True:
            found = (await executor.get(run)).pending
            said = f"{found.text}\n{found.action}"
            if found.code == code and words in said:
                return said
            await asyncio.sleep(0.05)
