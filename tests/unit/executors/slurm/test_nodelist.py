"""Short forms of host names become the names."""

from __future__ import annotations

import pytest

from pollinator.executors.slurm.nodelist import hostnames


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n1,m2", ("n1", "m2")),
        ("n[1-2,07],login", ("n1", "n2", "n07", "login")),
        ("nid[000998-001001]", ("nid000998", "nid000999", "nid001000", "nid001001")),
        ("gpu-[a,b]-ib", ("gpu-a-ib", "gpu-b-ib")),
        ("r[1-2]n[01-02]", ("r1n01", "r1n02", "r2n01", "r2n02")),
        ("n[9-11]", ("n9", "n10", "n11")),
    ],
)
def test_a_short_form_becomes_the_names_in_slurms_order(text: str, names: tuple[str, ...]) -> None:
    assert names == hostnames(text)
