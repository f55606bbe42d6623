"""An upload that is killed in the middle goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pollinator.chunks.stores import open_store
from pollinator.chunks.upload import PACK_BYTES, WORKERS
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.spec_pb2 import RunSpec
from support.s3_servers import S3Server
from support.syncing import on_disk, read_back

MEBI = 1024 * 1024
SIZE = 192 * MEBI
KILLED_AT = 112 * MEBI
UNDER_WAY = WORKERS * PACK_BYTES

UPLOAD = """
import sys
from pathlib import Path
from pollinator.chunks.stores import open_store
from pollinator.chunks.traffic import Traffic
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import StoreSettings

root, index, project = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
store = open_store(
    StoreSettings.FromString(sys.stdin.buffer.read()), project, traffic=Traffic(upload=60_000_000)
)
SyncEngine(root, index, store).seal(RunSpec())
"""


def test_a_killed_upload_sends_again_no_more_than_what_was_under_way(
    rclone_s3: S3Server, project: str, tmp_path: Path
) -> None:
    root, index = tmp_path / "project", tmp_path / "index.db"
    (root / "cfs" / "src").mkdir(parents=True)
    (root / "cfs" / "data").mkdir()
    (root / "cfs" / "data" / "large").write_bytes(random_bytes(SIZE))
    prefix = f"pollinator/{project}/p/"
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, str(root), str(index), project], stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(rclone_s3.settings().SerializeToString())
        process.stdin.close()
        rclone_s3.wait_for_bytes(prefix, KILLED_AT)
        os.kill(process.pid, signal.SIGKILL)
    arrived = sum(rclone_s3.objects(prefix).values())
    store = open_store(rclone_s3.settings(), project)
    engine = SyncEngine(root, index, store)
    sealed = engine.seal(RunSpec())
    engine.close()
    found = read_back(store, sealed.ref)
    store.close()

    assert 64 * MEBI == UNDER_WAY
    assert KILLED_AT <= arrived < SIZE, "it was killed in the middle"
    assert sealed.report.bytes_uploaded <= SIZE - arrived + UNDER_WAY
    assert on_disk(root) == found
