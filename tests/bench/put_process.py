"""The limit of a first upload: its bytes, in memory already, put as they are in objects of a pack's size.

``python -m bench.put_process FILE``; the store is the one that the environment names. Nothing is read ahead,
cut, hashed into chunks or written down: what is left is what signing, sending and the server take.
"""

from __future__ import annotations

import mmap
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.engine_process import store
from pollinator.chunks.keys import PACK, pack_key
from pollinator.chunks.upload import PACK_BYTES, WORKERS


def main() -> None:
    """Put the whole file, as many objects side by side as an upload has packs."""
    target = store()
    with (
        Path(sys.argv[1]).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
        ThreadPoolExecutor(WORKERS) as threads,
    ):

        def put(start: int) -> None:
            with data[start : start + PACK_BYTES] as block:
                target.put(pack_key(PACK, secrets.token_bytes(32)), block)

        for _ in threads.map(put, range(0, len(data), PACK_BYTES)):
            pass
    target.close()


if __name__ == "__main__":
    main()
