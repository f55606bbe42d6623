"""The fixture of the suite for an executor that somebody else has started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import ModuleType

import pytest_asyncio

from pollinator.executors.conformance.client import FEATURES, ExecutorUnderTest


def suite(address: str, image: str) -> object:
    """A plugin for pytest that gives every test the executor at one address.

    Args:
        address: where it listens.
        image: container image for every run, or empty.
    """

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def executor() -> AsyncIterator[ExecutorUnderTest]:
        under_test = ExecutorUnderTest(address, address, {"image": image} if image else {}, {})
        about = await under_test.describe()
        under_test.name = about.name
        missing = FEATURES - set(about.capabilities.features)
        under_test.without = dict.fromkeys(missing, "it does not say that it has it")
        yield under_test
        await under_test.close()

    # pytest looks for fixtures in modules and classes only.
    plugin = ModuleType("suite")
    vars(plugin).update(executor=executor, pytest_report_header=lambda: f"executor: {address}")
    return plugin
