"""What holds for every test, and the servers that tests may ask for; each is explained in its module."""

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
]
