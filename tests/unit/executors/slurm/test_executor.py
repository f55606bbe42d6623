"""What an executor for Slurm refuses to be made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.slurm.executor import SlurmExecutor
from pollinator.wire.errors import InvalidInput


@pytest.mark.parametrize("name", ["slurm.modules", "slurm.directives"])
def test_a_list_that_cannot_be_taken_apart_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SlurmExecutor.create(tmp_path, {name: "--licenses='a"})

    assert "bad_settings" == caught.value.reason
    assert [name] == [each.where for each in caught.value.violations]
