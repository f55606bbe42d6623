"""What holds for every test, and the servers that tests may ask for; each is explained in its module."""

from collections import defaultdict
from pathlib import Path

import pytest

# Its tests are imported by those below contract/.
pytest.register_assert_rewrite("pollinator.executors.conformance")

pytest_plugins = [
    "support.private",
    "support.leaks",
    "support.blocking",
    "support.s3_servers",
    "support.slurm",
    "support.slurm_of_contract",
    "support.colonies.sites",
    "support.colonies.contract",
    "support.colonies.machines",
    "support.kubernetes.sites",
    "support.kubernetes_of_contract",
    "support.kubernetes_bucket",
]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take long come first: where several run at a time, none is left alone at the end."""
    longest = defaultdict[Path, float](float)
    for item in items:
        for mark in item.iter_markers("timeout"):
            longest[item.path] = max(longest[item.path], float(mark.args[0]))
    items.sort(key=lambda item: -longest[item.path])
