"""The objects of a run, from data: its Job, the Secret with what nobody may see, the Service for names."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pollinator.executors.base import Job
from pollinator.executors.containers.reference import KEY, Source, parse_reference
from pollinator.executors.environment import RankPlace, rank_environment
from pollinator.executors.kubernetes import script
from pollinator.executors.kubernetes.data import HOME, OURS, WORK, Manifest, Parts
from pollinator.executors.kubernetes.naming import ATTEMPT, QUEUE, RUN, metadata
from pollinator.executors.kubernetes.settings import ANY_GPU, Accelerator, Site
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Violation

RANKS = "ranks"
"""The container in which they are."""
SLACK_S = 30
"""So much later than its own end a pod is ended by the cluster."""
LONGEST_WORD = 131_071
"""No program can be given a longer argument or variable, whatever starts it."""
_PER_NODE = "JOB_COMPLETION_INDEX"
"""Which node it is: the cluster adds that unless somebody else has."""
_PER_RANK = ("RANK", "LOCAL_RANK", "POLLINATOR_NODE_RANK")


@dataclass(frozen=True, slots=True)
class Wish:
    """What an attempt is made from."""

    job: Job
    attempt: int
    executor: str
    port: int
    """At which its ranks meet."""
    grace_ms: int
    secrets: Mapping[str, str]


def job_manifest(wish: Wish, site: Site, parts: Parts) -> Manifest:
    """The Job of an attempt.

    Raises:
        InvalidInput: it cannot be written down.
    """
    about = metadata(wish.job, wish.attempt, wish.executor)
    spec = wish.job.spec
    job = {
        "completionMode": "Indexed",
        "completions": spec.nodes,
        "parallelism": spec.nodes,
        # Whether there is another attempt is decided here, and not by the cluster.
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": RANKS, "operator": "NotIn", "values": [0]},
                },
            ]
        },
        "template": {
            "metadata": {
                "labels": about["labels"],
                # A proxy beside the ranks would outlive them, and the Job never end.
                "annotations": about["annotations"] | {"sidecar.istio.io/inject": "false"},
            },
            "spec": _pod(wish, site, parts),
        },
    }
    if queue := site.queue_of(spec):
        about = about | {"labels": about["labels"] | {QUEUE: queue}}
        job["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": job}


def secret_manifest(wish: Wish, owner: Manifest) -> Manifest:
    """The secrets of a run, which end with its Job."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _owned(wish, owner),
        "type": "Opaque",
        "immutable": True,
        "stringData": dict(wish.secrets),
    }


def service_manifest(wish: Wish, owner: Manifest) -> Manifest:
    """By which the pods of a run have names: that of the host, and behind it that of the Job."""
    about = _owned(wish, owner)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": about,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _selected(about),
        },
    }


def _owned(wish: Wish, owner: Manifest) -> Manifest:
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
    }
    return metadata(wish.job, wish.attempt, wish.executor) | {"ownerReferences": [reference]}


def image_of(spec: RunSpec, site: Site) -> str:
    """The image of a run, as a node understands it.

    Raises:
        InvalidInput: there is none, or it is in no registry.
    """
    text = spec.image or site.image
    if not text:
        raise _wrong(
            KEY, "name an image: a cluster runs nothing else; kubernetes.image of the executor stands in"
        )
    reference = parse_reference(text)
    if reference.source is not Source.REGISTRY:
        raise _wrong(KEY, f"{text} is a file; the nodes of a cluster know only images that are in registries")
    return reference.name


def gpu_of(spec: RunSpec, site: Site) -> Accelerator | None:
    """What the GPUs of a run are called here.

    Raises:
        InvalidInput: nobody knows.
    """
    if not spec.gpu.count:
        return None
    found = site.gpus.get(spec.gpu.name) or (site.gpus.get(ANY_GPU) if not spec.gpu.name else None)
    if found is None and not spec.gpu.name and site.gpus:
        found = next(iter(site.gpus.values()))
    if found is None:
        known = ", ".join(name for name in site.gpus if name != ANY_GPU) or "none by name"
        raise _wrong(
            "conditions.gpu.name", f"{spec.gpu.name!r} is not in kubernetes.gpus; known are: {known}"
        )
    return found


def argv_of(spec: RunSpec) -> list[str]:
    """What every rank runs."""
    source = [f"{WORK}/src/{spec.source}"] if spec.source else []
    return [*shlex.split(spec.command), *source, *spec.arguments]


# The pod


def _pod(wish: Wish, site: Site, parts: Parts) -> Manifest:
    spec = wish.job.spec
    name = metadata(wish.job, wish.attempt, wish.executor)["name"]
    gpu = gpu_of(spec, site)
    tolerations = [dict(each) for each in site.tolerations]
    selector = dict(site.node_selector)
    if gpu is not None:
        tolerations.append({"key": gpu.resource, "operator": "Exists", "effect": "NoSchedule"})
        selector |= dict([gpu.label]) if gpu.label else {}
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": max(math.ceil(wish.grace_ms / 1000) + SLACK_S, parts.grace_s),
        "securityContext": _security(site),
        "containers": [_ranks(wish, site, parts, gpu)],
        "volumes": [*_own_volumes(spec), *parts.volumes],
    }
    if parts.before:
        pod["initContainers"] = list(parts.before)
    if spec.walltime_ms:
        # At the pod: at the Job it would count the time in the queue. A net only, the ranks have their own.
        own_s = math.ceil((spec.walltime_ms + wish.grace_ms) / 1000)
        pod["activeDeadlineSeconds"] = own_s + site.start_s + site.peers_s + SLACK_S + parts.extra_s
    if spec.nodes > 1:
        pod["subdomain"] = name
        pod["topologySpreadConstraints"] = [_spread(wish)]
    named = {"nodeSelector": selector, "tolerations": tolerations, "priorityClassName": site.priority_class}
    pod |= {key: value for key, value in named.items() if value}
    if site.pull_secrets:
        pod["imagePullSecrets"] = [{"name": each} for each in site.pull_secrets]
    return pod


def _ranks(wish: Wish, site: Site, parts: Parts, gpu: Accelerator | None) -> Manifest:
    spec = wish.job.spec
    plan = script.Plan(
        nodes=spec.nodes,
        each=spec.processes_per_node,
        init=spec.init_command,
        walltime_ms=spec.walltime_ms,
        grace_ms=wish.grace_ms,
        warning=spec.signal,
        peers_s=site.peers_s,
    )
    argv = argv_of(spec)
    _check_words(spec, argv)
    command, arguments = script.command(plan, argv)
    image = image_of(spec, site)
    changes = spec.rebuild_image or image.endswith(":latest")
    container: Manifest = {
        "name": RANKS,
        "image": image,
        "imagePullPolicy": "Always" if changes else "IfNotPresent",
        "command": [_exact(word) for word in command],
        "args": [_exact(word) for word in arguments],
        "workingDir": WORK,
        "env": _environment(wish),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "ours", "mountPath": OURS},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *parts.mounts,
        ],
    }
    if resources := _resources(spec, gpu):
        # Held to exactly what was asked for: nobody else pays for more, and the next run is not better off.
        container["resources"] = {"requests": resources, "limits": resources}
    return container


def _environment(wish: Wish) -> list[Manifest]:
    """What is the same for all ranks of a node; the supervisor adds the place of each."""
    spec = wish.job.spec
    master = "127.0.0.1"
    contract = rank_environment(wish.job, RankPlace(0, 0, 0, (), master, wish.port), WORK)
    told: list[Manifest] = [
        {"name": name, "value": _exact(value)}
        for name, value in ({"HOME": HOME} | contract).items()
        if name not in (*_PER_RANK, "POLLINATOR_NODELIST", _PER_NODE)
    ]
    if spec.nodes == 1:
        place = {"fieldRef": {"fieldPath": "spec.nodeName"}}
        told.append({"name": "POLLINATOR_NODELIST", "valueFrom": place})
    name = metadata(wish.job, wish.attempt, wish.executor)["name"]
    known = {each["name"] for each in told}
    for secret in (each for each in wish.secrets if each != _PER_NODE):
        if secret in known:
            told = [each for each in told if each["name"] != secret]
        told.append({"name": secret, "valueFrom": {"secretKeyRef": {"name": name, "key": secret}}})
    return told


def _resources(spec: RunSpec, gpu: Accelerator | None) -> Manifest:
    resources: Manifest = {}
    if spec.cpu_millis:
        resources["cpu"] = f"{spec.cpu_millis}m"
    if spec.memory_bytes:
        resources["memory"] = str(spec.memory_bytes)
    if gpu is not None:
        resources[gpu.resource] = str(spec.gpu.count)
    return resources


def _own_volumes(spec: RunSpec) -> list[Manifest]:
    # What is in memory counts as the run's own.
    shm: Manifest = {"medium": "Memory"}
    if spec.memory_bytes:
        shm["sizeLimit"] = str(spec.memory_bytes)
    return [
        {"name": "ours", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": shm},
    ]


def _security(site: Site) -> Manifest:
    # No fsGroup: for that a volume with a million files would be walked through for each pod.
    security: Manifest = {
        "runAsUser": site.user,
        "runAsGroup": site.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return security | ({"runAsNonRoot": True} if site.user else {})


def _selected(about: Manifest) -> Manifest:
    """By which the pods of an attempt are told from all others."""
    return {name: about["labels"][name] for name in (RUN, ATTEMPT)}


def _spread(wish: Wish) -> Manifest:
    about = metadata(wish.job, wish.attempt, wish.executor)
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selected(about)},
    }


def _exact(text: str) -> str:
    """A text that the kubelet leaves as it is: it would put variables into it."""
    return text.replace("$", "$$")


def _check_words(spec: RunSpec, argv: list[str]) -> None:
    words = {f"argument {place}": word for place, word in enumerate(argv)}
    words |= {f"variable {each.name}": f"{each.name}={each.value}" for each in spec.environment}
    for what, word in words.items():
        if len(word.encode()) > LONGEST_WORD:
            raise InvalidInput(
                f"cannot start {argv[0]!r}: {what} is longer than the {LONGEST_WORD} bytes that systems take",
                reason="too_long",
                hint="have it in a file below src or data",
            )


def _wrong(where: str, text: str) -> InvalidInput:
    return InvalidInput(
        "this run cannot run in this cluster",
        reason="cannot_run_here",
        violations=[Violation(where, text)],
    )
