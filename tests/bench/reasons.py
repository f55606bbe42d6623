"""Why a row is not met: the page gives a reason only where its row misses something."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "cold-big": (
        "The server shares the cores: it takes 9 to 10 s of CPU time for these 2 GiB, whoever sends them, "
        "and aws and we take less than 4, so on two cores both are as fast as the cores allow: 13.5 s of "
        "CPU time in 6.7 s. A third of our own is the SHA-256 by which boto3 signs what it sends; it "
        "makes a server refuse a byte that flipped on the way."
    ),
    "cold-small": (
        "A third of our time is spent before the first file is read: Python with its imports, boto3 and "
        "its client, 0.3 of 0.86 s. A daemon pays that once; a cold row pays it each time. Looking at, "
        "reading, hashing and packing takes about 45 us for a file, all in Python."
    ),
    "lay-out": (
        "cp reads from memory what is copied. Each file here is opened, written, closed and given its "
        "mode by Python, about 40 us of CPU time, after its chunk was verified; what the server and the "
        "way to it take comes on top."
    ),
    "lay-out-changed": (
        "rsync looks at 10,000 files in C. Here each of them is looked at from Python, to be sure that "
        "nobody touched what was laid out ahead, and 100 are made anew with one request to the store in "
        "between."
    ),
}
