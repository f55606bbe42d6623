"""What some executors under test stand on."""

from __future__ import annotations

import pytest

from support.containers import dockerd

__all__ = ["dockerd"]


@pytest.fixture(autouse=True)
def docker_stays(request: pytest.FixtureRequest) -> None:
    """Whichever test needs it first, the daemon is not that test's."""
    if "local-docker" in request.node.name:
        request.getfixturevalue("dockerd")
