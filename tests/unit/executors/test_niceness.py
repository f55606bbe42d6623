"""What is made ahead takes the processor from nobody."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pollinator.executors import files


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it would be of the whole process")
@pytest.mark.parametrize(("before", "after"), [(0, files.NICE), (19, 19)])
def test_who_was_started_nicer_than_that_stays_so(before: int, after: int) -> None:
    def became() -> int:
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, max(before, os.getpriority(os.PRIO_PROCESS, own)))
        files.be_nice()
        return os.getpriority(os.PRIO_PROCESS, own)

    with ThreadPoolExecutor(1) as pool:
        assert max(after, os.getpriority(os.PRIO_PROCESS, 0)) == pool.submit(became).result()
