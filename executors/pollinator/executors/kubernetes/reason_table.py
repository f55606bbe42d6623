"""Why a run waits in a cluster: every code, what it means in plain words, and what the user can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a code."""

    text: str
    action: str = ""
    """Empty where nothing has to be done: a run that begins waits for several such things within seconds."""


REASONS: Mapping[str, Words] = {
    "submitted": Words("the cluster has it, and has made no pods of it yet"),
    "handing_over": Words("it is being handed over to the cluster"),
    "earlier_attempt": Words("what its last attempt has left is still being stored"),
    "store_unreachable": Words("the store gives its pods no way to its files", "wait: it is asked again"),
    "api_unreachable": Words("the cluster does not answer", "wait: it is asked again, and what runs goes on"),
    "login": Words("somebody has to log in to the cluster", "log in; the run goes on by itself"),
    "quota": Words(
        "the quota of the namespace is used up",
        "wait until other runs end, ask for less, or have the quota raised",
    ),
    "not_admitted": Words(
        "the cluster lets in no pods of it",
        "change the run or the executor's settings as it says, or ask the administrators",
    ),
    "kueue": Words("it waits in its queue for its turn", "wait, or name another queue (kubernetes.queue)"),
    "suspended": Words("somebody has suspended its Job", "have it resumed, or cancel the run"),
    "gated": Words(
        "something holds its pods back before they are scheduled", "ask the administrators if it lasts"
    ),
    "scheduling": Words("its pods wait for the scheduler"),
    "insufficient_cpu": Words("no node has so many cores free", "wait, or ask for less (conditions.cpu)"),
    "insufficient_memory": Words("no node has so much memory free", "wait, or ask for less (conditions.mem)"),
    "insufficient_gpu": Words(
        "no node has so many GPUs free", "wait, or ask for fewer (conditions.gpu.count)"
    ),
    "too_many_pods": Words("all nodes have as many pods as they take", "wait until others end"),
    "no_such_node": Words(
        "no node is of the kind that it asks for",
        "ask for other GPUs, or change kubernetes.node_selector or kubernetes.tolerations of the executor",
    ),
    "volume_unbound": Words(
        "the volume with its files cannot be had where it would run",
        "look at the claim with kubectl describe pvc, and see that several nodes may mount it",
    ),
    "unschedulable": Words("no node can take it", "wait, or change what it asks for"),
    "image_pulling": Words("its node pulls the image"),
    "image_error": Words(
        "its node cannot have the image",
        "see that environment.docker is right, and that kubernetes.pull_secrets lets the node in",
    ),
    "container_config": Words("its node cannot set the container up", "ask the administrators if it lasts"),
    "volume": Words("its node cannot mount the volume", "ask the administrators if it lasts"),
    "creating": Words("its node makes the container ready"),
    "peers": Words("some of its nodes are there and wait for the others"),
}
IMAGE_ERRORS = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
        *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
    }
)
CONFIG_ERRORS = frozenset(
    {
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CreatePodSandboxError"),
        *("PreCreateHookError", "PreStartHookError", "PostStartHookError", "CrashLoopBackOff"),
    }
)
NEVER = (
    "not found",
    "manifest unknown",
    "unauthorized",
    "denied",
    "authorization failed",
    "repository does not exist",
)
"""What a registry says that will not say anything else in a minute."""
