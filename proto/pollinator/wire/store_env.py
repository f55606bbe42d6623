"""The store that a user's environment asks for."""

from __future__ import annotations

from collections.abc import Mapping

from pollinator.v1.store_pb2 import FolderStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput, Violation

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


def store_settings_from_environment(environ: Mapping[str, str]) -> StoreSettings | None:
    """The store named by ``POLLINATOR_STORE`` or ``AWS_S3_*``; None when the environment names none.

    ``POLLINATOR_STORE`` is ``folder:/path`` or ``s3://bucket/prefix``. The ``AWS_S3_*`` variables are those
    of the original; without an access key the standard AWS chain is asked.

    Raises:
        InvalidInput: the variables are half set or cannot be meant.
    """
    named = environ.get("POLLINATOR_STORE", "")
    if named.startswith("folder:"):
        path = named.removeprefix("folder:")
        if not path.startswith("/"):
            raise _wrong([Violation("POLLINATOR_STORE", "write folder:/absolute/path")])
        return StoreSettings(folder=FolderStore(path=path))
    bucket, prefix = environ.get("AWS_S3_BUCKET", ""), ""
    if named.startswith("s3://"):
        bucket, _, prefix = named.removeprefix("s3://").partition("/")
    elif named:
        raise _wrong([Violation("POLLINATOR_STORE", "write folder:/path or s3://bucket/prefix")])
    given = [name for name in environ if name.startswith("AWS_S3_") and environ[name]]
    if not bucket and not given:
        return None
    return StoreSettings(s3=_s3(environ, bucket, prefix))


def _s3(environ: Mapping[str, str], bucket: str, prefix: str) -> S3Store:
    violations: list[Violation] = []
    if not bucket:
        violations.append(Violation("AWS_S3_BUCKET", "is not set, but other AWS_S3_ variables are"))
    access, secret = environ.get("AWS_S3_ACCESSKEY", ""), environ.get("AWS_S3_SECRETKEY", "")
    if access and not secret:
        violations.append(Violation("AWS_S3_SECRETKEY", "is not set, but AWS_S3_ACCESSKEY is"))
    if secret and not access:
        violations.append(Violation("AWS_S3_ACCESSKEY", "is not set, but AWS_S3_SECRETKEY is"))
    tls = _flag(environ, "AWS_S3_TLS", False, violations)
    skip_verify = _flag(environ, "AWS_S3_SKIPVERIFY", False, violations)
    addressing = environ.get("AWS_S3_ADDRESSING", "")
    if addressing not in ("", "path", "virtual", "auto"):
        violations.append(Violation("AWS_S3_ADDRESSING", "write path, virtual or auto"))
    if violations:
        raise _wrong(violations)
    endpoint = environ.get("AWS_S3_ENDPOINT", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{'https' if tls else 'http'}://{endpoint}"
    chain = {} if access else environ
    return S3Store(
        endpoint=endpoint or environ.get("AWS_ENDPOINT_URL_S3", "") or environ.get("AWS_ENDPOINT_URL", ""),
        bucket=bucket,
        prefix=prefix,
        region=environ.get("AWS_S3_REGION", "")
        or environ.get("AWS_S3_REGION_KEY", "")
        or environ.get("AWS_REGION", "")
        or environ.get("AWS_DEFAULT_REGION", ""),
        access_key=access or chain.get("AWS_ACCESS_KEY_ID", ""),
        secret_key=secret or chain.get("AWS_SECRET_ACCESS_KEY", ""),
        session_token=chain.get("AWS_SESSION_TOKEN", ""),
        profile=chain.get("AWS_PROFILE", ""),
        skip_verify=skip_verify,
        addressing=addressing,
    )


def _flag(environ: Mapping[str, str], name: str, default: bool, violations: list[Violation]) -> bool:
    text = environ.get(name, str(default)).lower()
    if text in _TRUE:
        return True
    if text not in _FALSE:
        violations.append(Violation(name, f"write true or false, not {text!r}"))
    return False


def _wrong(violations: list[Violation]) -> InvalidInput:
    return InvalidInput(
        "the environment does not name a store that can be used",
        reason="bad_store",
        hint="docs/store.md lists the variables",
        violations=violations,
    )
