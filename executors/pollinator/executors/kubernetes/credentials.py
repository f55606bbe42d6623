"""Credentials for the pods of a run: for its project's objects only, and for a while.

The user's own never reach the cluster. What came with the run is passed on only if it leads to nothing else;
otherwise the store is asked for some that do not. Where it issues none, whoever owns the cluster may keep
some there.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from pollinator.chunks.keys import namespace
from pollinator.v1.run_pb2 import SnapshotSource
from pollinator.v1.store_pb2 import S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput

RENEW_SHARE = 0.5
"""Of what is left of their time, after which there are new ones."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What pods get."""

    settings: StoreSettings = field(repr=False)
    renew_at: float = math.inf
    """Seconds since 1970; until then they need no others, unless the run comes with others."""
    authorities: bytes = b""
    """Certificates to trust, where the server's is not a public one."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What whoever owns the cluster has decided.

    Attributes:
        secret: name of a Secret with keys for the store, or empty.
        endpoint: of the store as pods reach it, or empty where that is no other.
    """

    secret: str = ""
    endpoint: str = ""


def issue(source: SnapshotSource, owner: Owner) -> Issued:
    """What the pods of a run get to reach its store. Blocking.

    Raises:
        InvalidInput: there is no bucket, or no credentials that may be handed on.
        Unavailable: the store does not answer.
    """
    if source.store.WhichOneof("kind") != "s3":
        raise InvalidInput(
            "pods cannot reach the files of this run: its project is not in a bucket that they reach",
            reason="bucket_needed",
            hint="name a bucket whose server issues limited credentials, with no AWS_CA_BUNDLE "
            "(docs/store.md), or have the executor use a volume: docs/kubernetes.md",
        )
    given = source.store.s3
    if owner.secret:
        return _for_pods(_without_keys(given), given, owner)
    # boto3 costs a quarter of a second to import: only those with a bucket pay it.
    from pollinator.chunks.s3_limited import is_limited, limited, travels

    reached = S3Store()
    reached.CopyFrom(given)
    reached.endpoint = owner.endpoint or given.endpoint
    reached.ClearField("ca_bundle")
    if not travels(reached) and not owner.endpoint:
        raise InvalidInput(
            f"pods cannot reach the store at {given.endpoint}: it is on this machine",
            reason="store_not_reached",
            hint="set kubernetes.endpoint to how pods reach it",
        )
    place = namespace(source.spec.project)
    if given.session_token and is_limited(given, place):
        # Whoever sent the run has asked for them, and sends new ones in time.
        return _for_pods(given, given, owner)
    issued = limited(given, place)
    if issued is None:
        raise InvalidInput(
            f"the store at {given.endpoint or 'AWS'} issues no limited credentials, and the user's own are "
            "not given to pods",
            reason="no_limited_credentials",
            hint="have it issue some (docs/store.md), or name a Secret of the cluster with keys for the "
            "bucket in kubernetes.credentials",
        )
    now = time.time()
    renew_at = now + RENEW_SHARE * (issued.until - now)
    return _for_pods(issued.settings, given, owner, renew_at)


def _for_pods(settings: S3Store, given: S3Store, owner: Owner, renew_at: float = math.inf) -> Issued:
    made = StoreSettings(s3=settings)
    made.s3.ClearField("ca_bundle")
    made.s3.ClearField("profile")
    if owner.endpoint:
        made.s3.endpoint = owner.endpoint
    return Issued(made, renew_at, _authorities(given.ca_bundle))


def _authorities(path: str) -> bytes:
    if not path:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"the certificates of authorities in {path} cannot be read: {error.strerror}",
            reason="bad_ca_bundle",
            hint="set AWS_CA_BUNDLE to a file that the executor can read",
        ) from error


def _without_keys(given: S3Store) -> S3Store:
    settings = S3Store()
    settings.CopyFrom(given)
    for name in ("access_key", "secret_key", "session_token"):
        settings.ClearField(name)
    return settings
