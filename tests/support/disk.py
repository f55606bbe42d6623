"""A disk that is full, as far as this process can tell."""

from __future__ import annotations

import resource
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def full_disk(largest_file_bytes: int) -> Generator[None]:
    """No file may grow beyond this size; the kernel answers as for a full disk.

    Hold it for moments only: the log that the test runner writes may not grow either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
