"""The cluster on which the contract suite runs. It is there for as long as the tests that need it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.kubernetes.double import Double
from support.kubernetes.sites import Site, is_real, new_double, real_site, site_of

KIND = "kubernetes"
"""Names of profiles that need it begin so."""
_there: list[Site | BaseException] = []
"""Or why it cannot be had."""


def site() -> Site:
    """Its namespace; skips the test where it cannot be had."""
    (found,) = _there
    if not isinstance(found, Site):
        raise found
    return found


def environment() -> Mapping[str, str]:
    """How an executor finds it."""
    return {"KUBECONFIG": str(site().kubeconfig)}


def settings() -> Mapping[str, str]:
    """What an executor is told whose files are on the volume."""
    return {
        "kubernetes.claim": site().claim,
        "kubernetes.mount": str(site().folder),
        "kubernetes.image": site().image,
    }


def specs() -> Mapping[str, Any]:
    """What every spec says besides."""
    return {"image": site().image}


def place(folder: Path) -> None:
    """Have the state of an executor on the volume, whose path is too long for sockets."""
    real = site().folder / f"x{secrets.token_hex(4)}"
    real.mkdir(mode=0o700)
    (folder / "x").symlink_to(real)


def clean(folder: Path) -> None:
    """End the Jobs of an executor, and remove its state."""
    state = (folder / "x").resolve()
    for found in _there:
        known = state / "kubernetes.json"
        if isinstance(found, Site) and known.exists():
            label = f"pollinator.io/executor={json.loads(known.read_text())['executor']}"
            for job in found.all("jobs", labelSelector=label):
                found.delete("jobs", job["metadata"]["name"])
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _kubernetes_of_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    if not any(_needs(item) for item in request.session.items):
        yield
        return
    double: Double | None = None
    try:
        double = None if is_real() else new_double()
        _there.append(real_site() if double is None else site_of(double))
    except pytest.skip.Exception as missing:
        _there.append(missing)
    yield
    found = _there.pop()
    if isinstance(found, Site):
        found.close()
    if double is not None:
        double.close()


def _needs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(str(each).startswith(KIND) for each in callspec.params.values())
