"""The suite of the contract, for runs that go through a colony to an executor of ours: most of it."""

from collections.abc import AsyncIterator

import pytest

from pollinator.executors.conformance.ends import *  # noqa: F403
from pollinator.executors.conformance.output import *  # noqa: F403
from pollinator.executors.conformance.results import *  # noqa: F403
from support.executing import ExecutorProcess, started


@pytest.fixture(scope="module", params=["colonies"])
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[ExecutorProcess]:
    """One for all of them."""
    async with started(request.param) as under_test:
        yield under_test
