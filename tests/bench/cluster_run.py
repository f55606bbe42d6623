"""How long from `run` after a one-line edit until its Job is there, and from there to the first instruction.

Beside `kubectl apply` of the same Job by hand: same image, resources, volume and folders on it, the same
command without anything of ours around it, and files that are in place already. The cluster is a real one
that the environment names, for a double has no figures of its own. The executor has its state on the volume,
and is a process of this machine, as it would be one of the cluster's.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.bed import Bed
from bench.harness import Bound, Measured, NotHere, Row, Sample, ratio
from bench.process import run
from pollinator.wire.cluster import Cluster, Where
from support.kubernetes.sites import Site, is_real, real_site
from support.sandbox import Sandbox

FILES = 1000
SIZE = 2048
NAME = "lab"
WAIT_S = 120.0
OURS, BY_HAND = "pollinator run, until its Job is there", "kubectl apply, until its Job is there"
ACCEPTED = "the same, from the run's acceptance"
STARTED, STARTED_BY_HAND = (
    "its Job, until the first instruction",
    "kubectl's Job, until the first instruction",
)
SPEC = """\
projectname: bench
conditions: {{executorNames: [{name}], cpu: 100m, mem: 100Mi, walltime: 60}}
environment: {{docker: "{image}", cmd: python3, source: main.py}}
"""
PROGRAM = "import time; print(time.time_ns())  # edit {}\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """A Job as a watch brought it first."""

    at_ns: int
    job: dict[str, Any]


@dataclass
class Lookout:
    """Notes when Jobs of a namespace come to be, on a thread of its own."""

    site: Site
    _seen: dict[str, Seen] = field(default_factory=dict[str, Seen], init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    @contextmanager
    def looking(self) -> Generator[None]:
        """For the length of the block."""
        loop = asyncio.new_event_loop()
        watch = loop.create_task(self._watch())

        def ended(_: asyncio.Task[None]) -> None:
            loop.stop()

        watch.add_done_callback(ended)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(watch.cancel)
            thread.join()
            loop.close()

    def next(self, before: set[str]) -> Seen:
        """The first that was not there before."""
        with self._changed:
            if self._changed.wait_for(lambda: self._seen.keys() - before, WAIT_S):
                return self._seen[next(iter(self._seen.keys() - before))]
        raise RuntimeError("no Job came to be")

    def known(self) -> set[str]:
        """Names of those that were there."""
        with self._changed:
            return set(self._seen)

    async def _watch(self) -> None:
        line = Cluster(Where(kubeconfig=str(self.site.kubeconfig)))
        path = f"/apis/batch/v1/namespaces/{self.site.namespace}/jobs"
        try:
            while True:
                async with aclosing(line.watch(path, query={"timeoutSeconds": 3600}, idle_s=3660)) as events:
                    async for event in events:
                        self._note(time.time_ns(), event["object"])
        finally:
            await line.close()

    def _note(self, at_ns: int, job: dict[str, Any]) -> None:
        with self._changed:
            self._seen.setdefault(job["metadata"]["name"], Seen(at_ns, job))
            self._changed.notify_all()


@dataclass
class Desk:
    """A user with a project, and an executor with its state on a volume of the cluster."""

    site: Site
    sandbox: Sandbox
    root: Path
    lookout: Lookout
    edits: int = 0
    later: dict[str, list[Measured]] = field(default_factory=dict[str, list[Measured]])
    """What is known of a round only afterwards, in the order of the rounds."""

    def edit(self) -> None:
        """Change one line."""
        self.edits += 1
        (self.root / "cfs" / "src" / "main.py").write_text(PROGRAM.format(self.edits))

    def note(self, name: str, began_ns: int, ended_ns: int) -> None:
        """How long something took in this round."""
        self.later.setdefault(name, []).append(Measured((ended_ns - began_ns) / 1e6))


@contextmanager
def desk(bed: Bed) -> Generator[Desk]:
    """All of it, for the length of the block."""
    if not is_real():
        raise NotHere("POLLINATOR_TEST_KUBECONFIG, _KUBE_VOLUME and _KUBE_IMAGE name no Kubernetes cluster")
    if shutil.which("kubectl") is None:
        raise NotHere("kubectl is not there")
    site = real_site()
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        root = bed.project(FILES, SIZE)
        (root / "project.yaml").write_text(SPEC.format(name=NAME, image=site.image))
        (root / "cfs" / "src" / "main.py").write_text(PROGRAM.format(0))
        settings = {"kubeconfig": site.kubeconfig, "claim": site.claim, "mount": site.folder}
        told = [word for key, value in settings.items() for word in ("--set", f"kubernetes.{key}={value}")]
        place = f"local:{site.folder}"
        added = sandbox.cli("executors", "add", NAME, place, "--kind", "kubernetes", *told, cwd=root)
        if added.returncode:
            raise RuntimeError(added.stderr.decode())
        lookout = Lookout(site)
        with lookout.looking():
            yield Desk(site, sandbox, root, lookout)
    finally:
        sandbox.close()
        site.close()


def ours(made: Desk) -> Callable[[], Measured]:
    """From the start of ``pollinator run`` until its Job is there."""

    def measure() -> Measured:
        made.edit()
        before, started_ns = made.lookout.known(), time.time_ns()
        ended = made.sandbox.cli("run", cwd=made.root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        job = made.lookout.next(before)
        run_id = ended.stdout.decode().strip()
        made.sandbox.cli("wait", run_id, cwd=made.root, timeout=WAIT_S)
        accepted = datetime.fromisoformat(made.sandbox.show(run_id, made.root)["accept_time"])
        made.note(ACCEPTED, round(accepted.timestamp() * 1e9), job.at_ns)
        made.note(STARTED, job.at_ns, int(made.sandbox.cli("logs", run_id, cwd=made.root).stdout))
        return Measured((job.at_ns - started_ns) / 1e6)

    return measure


def by_hand(made: Desk) -> Callable[[], Measured]:
    """The same Job, as somebody who knows Kubernetes would write it and have it run."""
    folder = made.site.folder / "by-hand"
    shutil.copytree(made.root / "cfs", folder)
    folder.chmod(0o777)
    (folder / "result").chmod(0o777)
    kubectl = ["kubectl", f"--kubeconfig={made.site.kubeconfig}"]

    def measure() -> Measured:
        made.edit()
        name = f"by-hand-{made.edits}"
        like = made.lookout.next(set())
        path = made.sandbox.folder / "job.json"
        path.write_text(json.dumps(written_by_hand(like.job, name, folder.name)))
        before, started_ns = made.lookout.known(), time.time_ns()
        run([*kubectl, "apply", "-f", str(path)])
        job = made.lookout.next(before)
        run([*kubectl, "wait", "--for=condition=complete", f"job/{name}", f"--timeout={WAIT_S}s"])
        made.note(STARTED_BY_HAND, job.at_ns, int(run([*kubectl, "logs", f"job/{name}"]).output))
        run([*kubectl, "delete", "job", name])
        return Measured((job.at_ns - started_ns) / 1e6)

    return measure


def written_by_hand(ours: dict[str, Any], name: str, folder: str) -> dict[str, Any]:
    """A Job like ours that knows nothing of us: the same pod, with the command alone."""
    pod = ours["spec"]["template"]["spec"]
    [ranks] = pod["containers"]
    volumes = [each for each in pod["volumes"] if "persistentVolumeClaim" in each]
    mount = {"name": volumes[0]["name"], "mountPath": "/cfs"}
    container = {
        **{key: ranks[key] for key in ("name", "image", "imagePullPolicy", "resources", "securityContext")},
        "command": ["python3", "/cfs/src/main.py"],
        "workingDir": "/cfs",
        "volumeMounts": [
            {**mount, "subPath": folder},
            {**mount, "subPath": f"{folder}/src", "mountPath": "/cfs/src", "readOnly": True},
        ],
    }
    template = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod["securityContext"],
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": template}},
    }


def named(part: str, bound: Bound) -> Bound:
    """A bound of one part of the way."""
    return replace(bound, text=f"{part}: {bound.text}")


def cluster_run(bed: Bed) -> Row:
    """A one-line edit, and a run of it in a cluster."""
    with desk(bed) as made:
        samples = bed.interleave({OURS: ours(made), BY_HAND: by_hand(made)}, part=2)
        # The first round is not counted in these either.
        counted = len(samples[0].rounds)
        later = [
            Sample(name, tuple(made.later[name][-counted:])) for name in (ACCEPTED, STARTED, STARTED_BY_HAND)
        ]
    samples = [*samples, *later]
    bounds: list[Bound] = [
        ratio(samples, OURS, BY_HAND, 4.0),
        named("from its acceptance", ratio(samples, ACCEPTED, BY_HAND, 1.25)),
        named("from there", ratio(samples, STARTED, STARTED_BY_HAND, 1.5)),
    ]
    work = (
        f"from `run` after a one-line edit of {FILES:,} files until a Kubernetes cluster has its Job, and on"
    )
    notes = ["by hand the edited file is on the volume already: nobody counted how it came there"]
    return Row("cluster-run", work, samples, bounds, notes)
