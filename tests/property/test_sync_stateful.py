"""The sync engine under random changes, late events, failures and crashes: it publishes what is there.

The machine is tested as well: each of the known defects put into the engine must make it fail.
"""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from support.machine import SyncMachine, TwoMachines, WatchedMachine
from support.mutants import MUTANTS, Mutant

SEARCH = settings(
    max_examples=250,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    # To explain a failure Python would trace every line, which takes longer than all else.
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
# Where threads take turns as they like, the same search does not always find the same: it may go on for long.
HUNT = settings(SEARCH, max_examples=2000, phases=[Phase.generate], report_multiple_bugs=False)


@pytest.mark.timeout(300)
def test_whatever_happens_a_snapshot_is_what_is_on_disk() -> None:
    run_state_machine_as_test(SyncMachine, settings=SEARCH)


@pytest.mark.timeout(300)
def test_whatever_happens_two_machines_on_one_store_do_not_disturb_each_other() -> None:
    run_state_machine_as_test(TwoMachines, settings=settings(SEARCH, max_examples=150))


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="the watcher elsewhere takes its time")
def test_whatever_happens_the_systems_own_watcher_misses_nothing() -> None:
    run_state_machine_as_test(WatchedMachine, settings=settings(SEARCH, max_examples=100))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_does_not_survive(mutant: Mutant) -> None:
    with mutant(), pytest.raises(AssertionError):
        run_state_machine_as_test(SyncMachine, settings=HUNT)
