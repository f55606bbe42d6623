"""What the rows about colonies stand on: a real server and its bucket, which the environment names.

The server is a program in Go that no package holds, and a double has no figures of its own: without a server
the rows are skipped. So are the programs of the original that it does not name.
"""

from __future__ import annotations

import os
import shutil

from bench.harness import NotHere
from support.colonies.sites import GivenS3, Site, real_site
from support.s3_servers import S3Server

ORIGINAL = "POLLINATOR_BENCH_ORIGINAL"
"""Names the program of the original."""


def site() -> Site:
    """A colony of a real server.

    Raises:
        NotHere: none is named.
    """
    found = real_site(os.environ)
    if found is None:
        raise NotHere("POLLINATOR_TEST_COLONIES_HOST, _PORT, _NAME and _KEY name no Colonies server")
    return found


def bucket() -> S3Server:
    """The bucket for its files.

    Raises:
        NotHere: none is named.
    """
    if not os.environ.get("AWS_S3_BUCKET"):
        raise NotHere("AWS_S3_* name no bucket for the files of the colony")
    return GivenS3(os.environ)


def original() -> str | None:
    """Path of the original program, if it is named.

    Raises:
        NotHere: what is named is no program.
    """
    named = os.environ.get(ORIGINAL, "")
    found = shutil.which(named) if named else None
    if named and not found:
        raise NotHere(f"{ORIGINAL} names {named}, which is no program")
    return found
