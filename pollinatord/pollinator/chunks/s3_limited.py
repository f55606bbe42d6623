"""Credentials for one project's objects and for a while, from a server that can issue them.

A session policy limits what they allow, and whether the server obeys it is tried out: credentials that lead
to more are not used. Read, write and list, never remove: what an executor needs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pollinator.chunks.keys import object_prefix
from pollinator.chunks.s3_client import Credentials, Issuer, make_client, make_issuer
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import InvalidInput, Unavailable

ROLE = "arn:aws:iam:::role/pollinator"
"""What is asked for where users cannot have a session of their own limited, as at Ceph. MinIO ignores it."""

SECONDS = 3600
"""For longer than this most servers issue none."""

CONNECT_S = 5.0
SILENCE_S = 10.0

_log = logging.getLogger(__name__)
_DENIED = 403
_LOOPS = ("localhost", "127.", "::1", "[::1]")
_FOREIGN = (BotoCoreError, ClientError, HTTPError, OSError, ResponseParserError, ValueError, InvalidInput)


@dataclass(frozen=True, slots=True)
class Limited:
    """How to reach the objects of one project, for a while."""

    settings: S3Settings
    until: float
    """Seconds since 1970, by our clock."""


def limited(settings: S3Settings, place: str) -> Limited | None:
    """Limited credentials; None where the server issues none that are limited.

    Args:
        settings: of the bucket, with the user's own credentials.
        place: namespace of the project.

    Raises:
        Unavailable: it does not answer.
    """
    prefix = object_prefix(settings.prefix, place)
    if any(sign in prefix for sign in "*?$"):
        return None  # a policy would take them for patterns
    for credentials in _issued(settings, policy_of(settings.bucket, prefix)):
        made = S3Settings()
        made.CopyFrom(settings)
        made.ClearField("profile")
        made.access_key = credentials["AccessKeyId"]
        made.secret_key = credentials["SecretAccessKey"]
        made.session_token = credentials["SessionToken"]
        if _holds(made, prefix):
            return Limited(made, time.time() + SECONDS)
    return None


def is_limited(settings: S3Settings, place: str) -> bool:
    """Credentials that somebody has lead to the objects of this project, and to nothing beside them.

    Args:
        settings: of the bucket, with the credentials.
        place: namespace of the project.
    """
    return _holds(settings, object_prefix(settings.prefix, place))


def travels(settings: S3Settings) -> bool:
    """The settings mean the same on another machine: no server of this machine alone, no file of it."""
    host = urlsplit(settings.endpoint).netloc or settings.endpoint
    return not settings.ca_bundle and not host.startswith(_LOOPS)


def policy_of(bucket: str, prefix: str) -> str:
    """What may be done with objects whose names begin so, and nothing else."""
    arn = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [f"{arn}/{prefix}*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [arn],
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}},
        },
    ]
    # Ceph takes the plus that stands for a space on the wire for one.
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _issued(settings: S3Settings, policy: str) -> Iterator[Credentials]:
    """What the server issues, in the ways there are."""
    issuer_name = settings.endpoint or "AWS"
    with closing(make_issuer(settings, CONNECT_S, SILENCE_S)) as issuer:
        for ask in (_federated, _assumed):
            try:
                yield ask(issuer, policy)
            except HTTPClientError as error:
                text = f"{issuer_name} does not answer: {error}"
                raise Unavailable(text, reason="store_unreachable") from error
            except _FOREIGN as error:
                _log.info("%s issues none by %s: %s", issuer_name, ask.__name__, error)


def _federated(issuer: Issuer, policy: str) -> Credentials:
    answer = issuer.get_federation_token(Name="pollinator", Policy=policy, DurationSeconds=SECONDS)
    return answer["Credentials"]


def _assumed(issuer: Issuer, policy: str) -> Credentials:
    answer = issuer.assume_role(
        RoleArn=ROLE, RoleSessionName="pollinator", Policy=policy, DurationSeconds=SECONDS
    )
    return answer["Credentials"]


def _holds(settings: S3Settings, prefix: str) -> bool:
    """With these the project can be listed, and nothing beside it be seen or written.

    Reading is not tried: servers say of what is not there that it is not there, whoever asks.
    """
    beside = prefix.rstrip("/") + "-beside/x"
    with closing(make_client(settings, CONNECT_S, SILENCE_S)) as client:
        try:
            client.list_objects_v2(Bucket=settings.bucket, Prefix=prefix, MaxKeys=1)
        except _FOREIGN:
            return False
        return (
            _is_denied(lambda: client.list_objects_v2(Bucket=settings.bucket, Prefix="", MaxKeys=1))
            and _is_denied(lambda: client.list_objects_v2(Bucket=settings.bucket, Prefix=beside, MaxKeys=1))
            and _is_denied(lambda: client.put_object(Bucket=settings.bucket, Key=beside, Body=""))
        )


def _is_denied(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except ClientError as error:
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == _DENIED
    except _FOREIGN:
        return False
    return False
