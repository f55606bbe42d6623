"""Why a row is not met: the page gives a reason only where its row misses something."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "cold-big": (
        "The server shares the cores, and takes 9 s of CPU time for these 2 GiB, whoever sends them; with "
        "the 3.9 s of aws both cores are full. The PUTs alone, of bytes in memory that are neither read, cut "
        "nor hashed into chunks, take 0.8 x aws in the same run: nothing that puts these bytes in signed "
        "requests can take less here. A third of our own CPU time is the SHA-256 by which boto3 signs what "
        "it sends; it makes a server refuse a byte that flipped on the way."
    ),
    "cold-small": (
        "A third of our time is spent before the first file is read: Python with its imports, boto3 and "
        "its client, 0.25 of 0.8 s. A daemon pays that once; a cold row pays it each time. Looking at, "
        "reading, hashing and packing takes about 40 us for a file, all in Python."
    ),
    "dev": (
        "The others start the script where it lies, at once, in one process. Ours waits 50 ms for the rest "
        "of a save, publishes a snapshot, lays out a copy of its own, and has a supervisor beside the run, "
        "which outlives the daemon and is a Python with its imports: 40 ms of CPU time before that of the "
        "script. These are what makes a run on this machine the same as one elsewhere."
    ),
    "lay-out": (
        "cp reads from memory what is copied. Each file here is opened, written and closed by Python after "
        "its chunk was verified, 15 us in one thread, while threads that fetch packs want the other core, as "
        "does the server."
    ),
    "lay-out-changed": (
        "rsync looks at 10,000 files in C. Here each of them is looked at from Python, to be sure that "
        "nobody touched what was laid out ahead, and 100 are made anew with one request to the store in "
        "between."
    ),
}
