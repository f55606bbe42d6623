"""The colony that a user's environment asks for. Says nothing about whether its server answers."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from string import hexdigits

from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import InvalidInput, PollinatorError, Violation
from pollinator.wire.store_env import flag, store_settings_from_environment

_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Of secp256k1: no key is larger."""
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_MEANT = ("COLONIES_SERVER_HOST", "COLONIES_COLONY_NAME", "COLONIES_COLONY_ID")
"""Any of these says that a colony is meant. The last is of versions up to 1.6, and so is the second key."""
_KEYS = ("COLONIES_PRVKEY", "COLONIES_EXECUTOR_PRVKEY")
_FILE = "COLONIES_PRVKEY_FILE"
_KEYRING = "COLONIES_PRVKEY_KEYRING"
_SERVICE = "pollinator"


def is_private_key(text: str) -> bool:
    """These are the 64 hexadecimal digits of a key, and not just any: a few mean none."""
    return re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None and 0 < int(text, 16) < _ORDER


def is_this_machine(host: str) -> bool:
    """``host`` is a name or address by which a machine calls itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def colony_from_environment(environ: Mapping[str, str]) -> Colony | None:
    """The colony named by ``COLONIES_*``, with the bucket of ``AWS_S3_*``; None when none is named.

    Raises:
        InvalidInput: the variables are half set or cannot be meant; each one that is wrong is named.
    """
    if not any(environ.get(name) for name in _MEANT):
        return None
    wrong: list[Violation] = []
    host = _host(environ, wrong)
    colony = Colony(
        host=host,
        port=_port(environ, wrong),
        tls=_tls(environ, host, wrong),
        ca_bundle=_ca_bundle(environ, wrong),
        skip_verify=flag(environ, "COLONIES_SKIPVERIFY", wrong) is True,
        name=_name(environ, wrong),
        private_key=_key(environ, wrong),
        dashboard_url=environ.get("COLONYOS_DASHBOARD_URL", "").rstrip("/"),
    )
    _set_files(colony, environ, wrong)
    if wrong:
        raise InvalidInput(
            "the environment does not name a colony that can be used",
            reason="bad_colony",
            hint="docs/colonies.md lists the variables",
            violations=wrong,
        )
    return colony


def _host(environ: Mapping[str, str], wrong: list[Violation]) -> str:
    host = environ.get("COLONIES_SERVER_HOST", "").strip().removeprefix("[").removesuffix("]")
    if not host:
        wrong.append(Violation("COLONIES_SERVER_HOST", "is not set, but other COLONIES_ variables are"))
    elif not _HOST.fullmatch(host) and not _is_address(host):
        wrong.append(
            Violation("COLONIES_SERVER_HOST", "write a host name or address, without scheme and port")
        )
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _port(environ: Mapping[str, str], wrong: list[Violation]) -> int:
    text = environ.get("COLONIES_SERVER_PORT", "").strip()
    if not text:
        wrong.append(Violation("COLONIES_SERVER_PORT", "is not set, but other COLONIES_ variables are"))
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        wrong.append(Violation("COLONIES_SERVER_PORT", f"write a number from 1 to 65535, not {text!r}"))
        return 0
    return int(text)


def _tls(environ: Mapping[str, str], host: str, wrong: list[Violation]) -> bool:
    """Both names are in use. Without either: as the last originals, but not for a server on this machine."""
    said = {name: flag(environ, name, wrong) for name in ("COLONIES_TLS", "COLONIES_SERVER_TLS")}
    values = {value for value in said.values() if value is not None}
    if len(values) == 2:
        wrong.append(Violation("COLONIES_SERVER_TLS", "contradicts COLONIES_TLS"))
    return values.pop() if values else not is_this_machine(host)


def _ca_bundle(environ: Mapping[str, str], wrong: list[Violation]) -> str:
    path = environ.get("COLONIES_CA_BUNDLE", "")
    if path and not os.path.isfile(path):
        wrong.append(Violation("COLONIES_CA_BUNDLE", f"there is no file {path}"))
    return os.path.abspath(path) if path else ""


def _name(environ: Mapping[str, str], wrong: list[Violation]) -> str:
    name = (environ.get("COLONIES_COLONY_NAME") or environ.get("COLONIES_COLONY_ID", "")).strip()
    if not name:
        wrong.append(Violation("COLONIES_COLONY_NAME", "is not set, but other COLONIES_ variables are"))
    return name


def _key(environ: Mapping[str, str], wrong: list[Violation]) -> str:
    """From a variable, a file that only its owner reads, or the keyring; never repeated in an error."""
    named = next((name for name in _KEYS if environ.get(name)), _KEYS[0])
    given = [name for name in (named, _FILE, _KEYRING) if environ.get(name)]
    if not given:
        message = f"is not set, nor are {_FILE} and {_KEYRING}, from which the key may come as well"
        wrong.append(Violation(named, message))
        return ""
    if len(given) > 1:
        # One of them may have been left there by another program.
        wrong.append(Violation(given[1], f"is set beside {given[0]}: unset one of them"))
        return ""
    read = {_FILE: _from_file, _KEYRING: _from_keyring}.get(given[0])
    text = (read(environ[given[0]], wrong) if read else environ[given[0]]).strip()
    if text and not is_private_key(text):
        wrong.append(Violation(given[0], f"is no private key: {_why_not(text)}"))
    return text.lower()


def _why_not(text: str) -> str:
    if len(text) != 64:
        return f"64 hexadecimal digits, not {len(text)} characters"
    return (
        "64 hexadecimal digits, of which some are none"
        if set(text) - set(hexdigits)
        else "no key has this value"
    )


def _from_file(name: str, wrong: list[Violation]) -> str:
    path = os.path.expanduser(name)
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            wrong.append(Violation(_FILE, f"{path} is no file"))
            return ""
        if stat.S_IMODE(found.st_mode) & 0o077:
            wrong.append(Violation(_FILE, f"others may read or write {path}: chmod 600 {path}"))
            return ""
        with open(path, encoding="ascii") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        wrong.append(Violation(_FILE, f"{path} cannot be read: {why}"))
        return ""
    if not text.strip():
        wrong.append(Violation(_FILE, f"{path} is empty"))
    return text


def _from_keyring(user: str, wrong: list[Violation]) -> str:
    try:
        import keyring
    except ImportError:
        wrong.append(Violation(_KEYRING, "needs the package keyring: pip install 'pollinatord[keyring]'"))
        return ""
    try:
        text = keyring.get_password(_SERVICE, user)
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        wrong.append(Violation(_KEYRING, f"the keyring does not answer: {error}"))
        return ""
    if not text:
        wrong.append(Violation(_KEYRING, f"the keyring has no key {user!r}: keyring set {_SERVICE} {user}"))
    return text or ""


def _set_files(colony: Colony, environ: Mapping[str, str], wrong: list[Violation]) -> None:
    only_s3 = {name: value for name, value in environ.items() if name != "POLLINATOR_STORE"}
    try:
        store = store_settings_from_environment(only_s3)
    except PollinatorError as error:
        wrong.extend(error.violations)
        return
    if store is not None:
        colony.files.CopyFrom(store.s3)
