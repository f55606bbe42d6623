"""The first container of a pod: lays the files of the run out, from the store, before any rank begins.

``python -m pollinator.executors.kubernetes.fetch``. It may be run again in the same pod: the kubelet does so
when the pod's sandbox is gone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pollinator.chunks.layout import disk_errors, lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.executors.kubernetes.data import CONTROL, GO, OUTPUT, STOP, WORK
from pollinator.executors.kubernetes.pod import ENDING, NOTES, Ending, Plan, Pod, Reach, begin_log, words
from pollinator.executors.trees import remove_tree
from pollinator.v1.tree_pb2 import Tree
from pollinator.wire.errors import PollinatorError

PATIENCE_S = 600.0
"""So long a store that does not answer is waited for: files can be asked for again by a new run."""
LOGIN_S = 60.0
"""So long other credentials are waited for: these were good a moment ago."""


def fetch(plan: Plan, node: int, work: Path, store: Store) -> None:
    """Make ``work`` hold ``src`` and ``data`` of the snapshot, and ``result``.

    The last two are as the attempt before has left them on this node, if there was one.

    Raises:
        PollinatorError: the files cannot be had, or not be written.
    """
    reader = SnapshotReader(store)
    snapshot = reader.open(plan.snapshot)
    trees = {"src": snapshot.src, "data": snapshot.data, "result": Tree()}
    if node in plan.kept:
        kept = reader.open(plan.kept[node])
        trees |= {"data": kept.data, "result": kept.result}
    with disk_errors(work):
        for name, tree in trees.items():
            remove_tree(work / name)
            (work / name).mkdir(mode=0o755)
            # What a run has left in its own folders it may find there again.
            external = plan.external_links or node in plan.kept
            lay_out(reader, tree, work / name, external_links=external)


def make_ready(pod: Pod) -> None:
    """Make what the ranks' supervisor and the executor write into."""
    for place in (WORK, CONTROL, OUTPUT):
        pod.at(place).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in (GO, STOP, str(pod.node)):
        (pod.at(CONTROL) / name).touch()


def main(arguments: list[str]) -> int:
    """Lay the files out; the exit code of the container."""
    begin_log()
    pod = Pod.here(arguments)
    plan = pod.plan()
    reach = Reach(pod, plan.project, Ending(pod.at(NOTES) / ENDING))
    try:
        make_ready(pod)
        reach.do(lambda store: fetch(plan, pod.node, pod.at(WORK), store), PATIENCE_S, LOGIN_S)
    except (PollinatorError, OSError) as error:
        pod.note_end(words(error))
        print(words(error), file=sys.stderr)  # noqa: T201 - the container's log
        return 1
    finally:
        reach.drop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
