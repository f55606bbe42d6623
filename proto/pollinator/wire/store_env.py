"""The store that a user's environment asks for. Says nothing about whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from pollinator.v1.store_pb2 import FolderStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput, Violation

_TRUE = ("1", "t", "true", "yes", "on")
_FALSE = ("0", "f", "false", "no", "off")

_OURS = (
    "AWS_S3_ENDPOINT",
    "AWS_S3_ACCESSKEY",
    "AWS_S3_SECRETKEY",
    "AWS_S3_TLS",
    "AWS_S3_SKIPVERIFY",
    "AWS_S3_REGION",
    "AWS_S3_REGION_KEY",
    "AWS_S3_ADDRESSING",
)
"""Any of these says that a bucket is meant. The last is new, the others are those of the original."""


def store_settings_from_environment(environ: Mapping[str, str]) -> StoreSettings | None:
    """The store named by ``POLLINATOR_STORE`` or ``AWS_S3_*``; None when the environment names none.

    ``POLLINATOR_STORE`` is ``folder`` (the embedded default), ``folder:/path`` or ``s3://bucket/prefix``, and
    wins. ``AWS_S3_BUCKET`` alone is enough: without an access key the standard AWS chain is asked.

    Raises:
        InvalidInput: the variables are half set or cannot be meant; each one that is wrong is named.
    """
    named = environ.get("POLLINATOR_STORE", "")
    if named == "folder" or named.startswith("folder:"):
        path = named.removeprefix("folder").removeprefix(":")
        if path and not path.startswith("/"):
            raise _wrong([Violation("POLLINATOR_STORE", "write folder:/absolute/path")])
        return StoreSettings(folder=FolderStore(path=path))
    bucket, prefix = environ.get("AWS_S3_BUCKET", ""), ""
    if named:
        bucket, _, prefix = named.removeprefix("s3://").partition("/")
        if not named.startswith("s3://") or not bucket:
            raise _wrong([Violation("POLLINATOR_STORE", "write folder:/path or s3://bucket/prefix")])
    if not bucket and not any(environ.get(name) for name in _OURS):
        return None
    return StoreSettings(s3=_s3(environ, bucket, prefix))


def _s3(environ: Mapping[str, str], bucket: str, prefix: str) -> S3Store:
    violations: list[Violation] = []
    if not bucket:
        violations.append(Violation("AWS_S3_BUCKET", "is not set, but other AWS_S3_ variables are"))
    settings = S3Store(
        endpoint=_endpoint(environ, violations),
        bucket=bucket,
        prefix=prefix,
        region=_first(environ, "AWS_S3_REGION", "AWS_S3_REGION_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"),
        skip_verify=flag(environ, "AWS_S3_SKIPVERIFY", violations) is True,
        addressing=environ.get("AWS_S3_ADDRESSING", ""),
        ca_bundle=environ.get("AWS_CA_BUNDLE", ""),
    )
    if settings.addressing not in ("", "path", "virtual", "auto"):
        violations.append(Violation("AWS_S3_ADDRESSING", "write path, virtual or auto"))
    _set_credentials(settings, environ, violations)
    if violations:
        raise _wrong(violations)
    return settings


def _set_credentials(settings: S3Store, environ: Mapping[str, str], violations: list[Violation]) -> None:
    """Keys of the original, else those of the AWS chain, else the profile by which the chain finds them."""
    if _pair(settings, environ, "AWS_S3_ACCESSKEY", "AWS_S3_SECRETKEY", violations):
        return
    if _pair(settings, environ, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", violations):
        settings.session_token = environ.get("AWS_SESSION_TOKEN", "")
        return
    settings.profile = _first(environ, "AWS_PROFILE", "AWS_DEFAULT_PROFILE")


def _pair(
    settings: S3Store, environ: Mapping[str, str], access: str, secret: str, violations: list[Violation]
) -> bool:
    """Take the two keys if either is set; one without the other is a violation."""
    settings.access_key, settings.secret_key = environ.get(access, ""), environ.get(secret, "")
    if settings.access_key and not settings.secret_key:
        violations.append(Violation(secret, f"is not set, but {access} is"))
    if settings.secret_key and not settings.access_key:
        violations.append(Violation(access, f"is not set, but {secret} is"))
    return bool(settings.access_key or settings.secret_key)


def _endpoint(environ: Mapping[str, str], violations: list[Violation]) -> str:
    """The endpoint as a URL. That of the original has no scheme: ``AWS_S3_TLS`` decides."""
    tls = flag(environ, "AWS_S3_TLS", violations)
    given = environ.get("AWS_S3_ENDPOINT", "")
    if not given:
        return _first(environ, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    url = given if "://" in given else f"{'https' if tls else 'http'}://{given}"
    if not is_endpoint(url):
        # Not repeated: it may hold a password.
        violations.append(Violation("AWS_S3_ENDPOINT", "write host:port, without user and password"))
    elif tls is not None and tls != url.startswith("https:"):
        violations.append(Violation("AWS_S3_TLS", "contradicts the scheme in AWS_S3_ENDPOINT"))
    return url.rstrip("/")


def is_endpoint(url: str) -> bool:
    """``url`` is of the form http://host:port or https://host:port, and carries no password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and port != 0
    )


def flag(environ: Mapping[str, str], name: str, violations: list[Violation]) -> bool | None:
    """What a variable says; None when it is not set."""
    text = environ.get(name, "").strip().lower()
    if text and text not in _TRUE and text not in _FALSE:
        violations.append(Violation(name, f"write true or false, not {text!r}"))
    return text in _TRUE if text else None


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _wrong(violations: list[Violation]) -> InvalidInput:
    return InvalidInput(
        "the environment does not name a store that can be used",
        reason="bad_store",
        hint="docs/store.md lists the variables",
        violations=violations,
    )
