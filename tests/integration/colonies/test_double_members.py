"""Who may do what in a colony. Of the double, and of a real server where one is named."""

from __future__ import annotations

import pytest
from support.colonies.asking import stranger
from support.colonies.sites import Site

pytestmark = pytest.mark.integration


def test_a_stranger_is_no_member(colony: Site) -> None:
    said = colony.line.ask(stranger(), "getexecutorsmsg", colonyname=colony.name)

    assert (403, f"Access denied, not a member of Colony with name <{colony.name}>") == said.refusal
