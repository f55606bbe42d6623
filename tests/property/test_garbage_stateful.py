"""Two daemons and their collections on one store: nothing that is kept is ever lost, and all else is removed.

The machine is tested as well: each of the known defects put into the program must make it fail.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from support.garbage import GarbageMachine
from support.garbage_mutants import MUTANTS, Mutant

SEARCH = settings(
    max_examples=200,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    # To explain a failure Python would trace every line, which takes longer than all else.
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
HUNT = settings(SEARCH, max_examples=3000, phases=[Phase.generate], report_multiple_bugs=False)


@pytest.mark.timeout(300)
def test_whatever_happens_what_is_kept_can_be_read_and_all_else_is_removed() -> None:
    run_state_machine_as_test(GarbageMachine, settings=SEARCH)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_does_not_survive(mutant: Mutant) -> None:
    with mutant(), pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(GarbageMachine, settings=HUNT)
