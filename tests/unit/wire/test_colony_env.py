"""The colony that the environment asks for, and every way in which it can be wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.store_pb2 import S3Store
from pollinator.wire.colony_env import colony_from_environment, is_this_machine
from pollinator.wire.errors import InvalidInput

KEY = "6d2fb6f546bacfd98c68769e61e0b44a697a30596c018a50e28200aa59b01c0a"
OTHER = "1" * 64
NEW = {
    "COLONIES_SERVER_HOST": "colony.example.org",
    "COLONIES_SERVER_PORT": "443",
    "COLONIES_TLS": "true",
    "COLONIES_COLONY_NAME": "dev",
    "COLONIES_PRVKEY": KEY,
}
OLD = {
    "COLONIES_SERVER_HOST": "colony.example.org",
    "COLONIES_SERVER_PORT": "443",
    "COLONIES_SERVER_TLS": "true",
    "COLONIES_COLONY_ID": "dev",
    "COLONIES_EXECUTOR_ID": "whoever",
    "COLONIES_EXECUTOR_PRVKEY": KEY,
}
KEYLESS = {name: value for name, value in NEW.items() if name != "COLONIES_PRVKEY"}
FILE, RING = "COLONIES_PRVKEY_FILE", "COLONIES_PRVKEY_KEYRING"


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride] - a plain number does

    def __init__(self, kept: dict[tuple[str, str], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # keyring does not say its types here
        self._kept = kept

    def get_password(self, service: str, username: str) -> str | None:
        if username == "locked":
            raise keyring.errors.KeyringLocked("nobody unlocks it")
        return self._kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._kept[service, username] = password


def colony(environ: dict[str, str]) -> Colony:
    found = colony_from_environment(environ)

    assert found is not None
    return found


def wrong(environ: dict[str, str]) -> dict[str, str]:
    """What is said about which variable."""
    with pytest.raises(InvalidInput) as caught:
        colony_from_environment(environ)
    said = {each.where: each.message for each in caught.value.violations}

    assert "bad_colony" == caught.value.reason
    assert "docs/colonies.md" in caught.value.hint
    for name, secret in environ.items():
        if name in ("COLONIES_PRVKEY", "COLONIES_EXECUTOR_PRVKEY") and len(secret) > 9:
            assert secret[:10] not in f"{caught.value!r} {said}"
    return said


def key_file(folder: Path, text: str | bytes, mode: int = 0o600) -> dict[str, str]:
    path = folder / "key"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return KEYLESS | {FILE: str(path)}


@pytest.fixture
def ring() -> Iterator[dict[tuple[str, str], str]]:
    """What the keyring holds."""
    kept: dict[tuple[str, str], str] = {}
    before = keyring.get_keyring()
    keyring.set_keyring(Ring(kept))
    yield kept
    keyring.set_keyring(before)


@pytest.mark.parametrize(
    "environ", [{}, {"COLONIES_PRVKEY": KEY}, {"AWS_S3_BUCKET": "b"}, {"COLONIES_SERVER_HOST": ""}]
)
def test_an_environment_that_names_no_colony_is_none(environ: dict[str, str]) -> None:
    assert colony_from_environment(environ) is None


@pytest.mark.parametrize("environ", [NEW, OLD], ids=["since 1.7", "up to 1.6"])
def test_a_colony_is_named_in_both_ways(environ: dict[str, str]) -> None:
    expected = Colony(host="colony.example.org", port=443, tls=True, name="dev", private_key=KEY)

    assert expected == colony(environ)


def test_of_both_ways_the_newer_wins() -> None:
    environ = OLD | {"COLONIES_COLONY_NAME": "newer", "COLONIES_PRVKEY": OTHER}

    assert ("newer", OTHER) == (colony(environ).name, colony(environ).private_key)


def test_the_bucket_is_that_of_the_store() -> None:
    bucket = {
        "AWS_S3_ENDPOINT": "s3:9000",
        "AWS_S3_BUCKET": "b",
        "AWS_S3_ACCESSKEY": "a",
        "AWS_S3_SECRETKEY": "s",
    }
    expected = S3Store(endpoint="http://s3:9000", bucket="b", access_key="a", secret_key="s")

    assert expected == colony(NEW | bucket | {"POLLINATOR_STORE": "folder"}).files
    assert not colony(NEW | {"POLLINATOR_STORE": "s3://elsewhere"}).HasField("files")


def test_what_is_wrong_with_the_bucket_is_said_as_well() -> None:
    said = wrong(NEW | {"AWS_S3_ENDPOINT": "s3:9000", "COLONIES_SERVER_PORT": "x"})

    assert {"AWS_S3_BUCKET", "COLONIES_SERVER_PORT"} == set(said)


def test_the_dashboard_is_named_without_a_slash_at_its_end() -> None:
    assert "https://d/x" == colony(NEW | {"COLONYOS_DASHBOARD_URL": "https://d/x/"}).dashboard_url


@pytest.mark.parametrize(
    "missing", ["COLONIES_SERVER_HOST", "COLONIES_SERVER_PORT", "COLONIES_COLONY_NAME", "COLONIES_PRVKEY"]
)
@pytest.mark.parametrize("empty", [True, False])
def test_each_that_is_not_set_is_named(missing: str, *, empty: bool) -> None:
    environ = (
        NEW | {missing: ""} if empty else {name: value for name, value in NEW.items() if name != missing}
    )

    assert [missing] == list(wrong(environ))


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = wrong({"COLONIES_COLONY_NAME": "dev", "COLONIES_TLS": "perhaps"})

    assert {"COLONIES_SERVER_HOST", "COLONIES_SERVER_PORT", "COLONIES_TLS", "COLONIES_PRVKEY"} == set(said)


@pytest.mark.parametrize("port", ["0", "65536", "https", "-1", "4 43", "1e3", "٣"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    assert port in wrong(NEW | {"COLONIES_SERVER_PORT": port})["COLONIES_SERVER_PORT"]


@pytest.mark.parametrize(
    "host", ["https://colony.example.org", "h:443", "a b", "h/api", "ada@h", "::1::", "-h"]
)
def test_a_host_that_is_none_is_named(host: str) -> None:
    assert ["COLONIES_SERVER_HOST"] == list(wrong(NEW | {"COLONIES_SERVER_HOST": host}))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        (" h ", "h"),
        ("a_b", "a_b"),
    ],
)
def test_a_host_is_a_name_or_an_address(host: str, expected: str) -> None:
    assert expected == colony(NEW | {"COLONIES_SERVER_HOST": host}).host


@pytest.mark.parametrize(
    ("tls", "server_tls", "expected"),
    [
        ("true", "", True),
        ("", "true", True),
        ("false", "", False),
        ("", "false", False),
        ("1", "TRUE", True),
        ("0", "f", False),
        ("", "", True),
    ],
)
def test_either_variable_says_whether_there_is_tls(tls: str, server_tls: str, *, expected: bool) -> None:
    assert expected is colony(NEW | {"COLONIES_TLS": tls, "COLONIES_SERVER_TLS": server_tls}).tls


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_a_server_on_this_machine_has_no_tls_unless_it_is_said(host: str) -> None:
    assert not colony(NEW | {"COLONIES_SERVER_HOST": host, "COLONIES_TLS": ""}).tls
    assert colony(NEW | {"COLONIES_SERVER_HOST": host}).tls


@pytest.mark.parametrize("host", ["localhost.example.org", "127.example.org", "128.0.0.1", "", "10.0.0.1"])
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_this_machine(host)


def test_two_variables_that_contradict_each_other_are_an_error() -> None:
    assert ["COLONIES_SERVER_TLS"] == list(wrong(NEW | {"COLONIES_SERVER_TLS": "false"}))


@pytest.mark.parametrize("name", ["COLONIES_TLS", "COLONIES_SERVER_TLS", "COLONIES_SKIPVERIFY"])
def test_what_is_neither_true_nor_false_is_named(name: str) -> None:
    assert "'maybe'" in wrong(KEYLESS | {"COLONIES_PRVKEY": KEY, "COLONIES_TLS": "", name: "maybe"})[name]


def test_whom_to_believe_may_be_said(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")

    found = colony(NEW | {"COLONIES_CA_BUNDLE": str(bundle), "COLONIES_SKIPVERIFY": "true"})

    assert (str(bundle), True) == (found.ca_bundle, found.skip_verify)


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert (
        str(tmp_path / "no")
        in wrong(NEW | {"COLONIES_CA_BUNDLE": str(tmp_path / "no")})["COLONIES_CA_BUNDLE"]
    )


# The key


@pytest.mark.parametrize("text", [KEY, KEY.upper(), f" {KEY}\n"])
def test_a_key_is_64_digits(text: str) -> None:
    assert KEY == colony(NEW | {"COLONIES_PRVKEY": text}).private_key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (KEY[:-1], "63 characters"),
        (KEY + KEY, "128 characters"),
        (f"0x{KEY}", "66 characters"),
        ("z" + KEY[1:], "some are none"),
        ("0" * 64, "no key has this value"),
        ("f" * 64, "no key has this value"),
    ],
)
@pytest.mark.parametrize("name", ["COLONIES_PRVKEY", "COLONIES_EXECUTOR_PRVKEY"])
def test_what_is_no_key_is_said_without_repeating_it(name: str, text: str, why: str) -> None:
    assert why in wrong(KEYLESS | {name: text})[name]


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n", f"{KEY.upper()}\r\n"])
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_may_be_in_a_file(tmp_path: Path, text: str, mode: int) -> None:
    assert KEY == colony(key_file(tmp_path, text, mode)).private_key


def test_a_file_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert KEY == colony(key_file(tmp_path, KEY) | {FILE: "~/key"}).private_key


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    assert "chmod 600" in wrong(key_file(tmp_path, KEY, mode))[FILE]


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "is empty"), ("\n", "is empty"), (KEY[1:], "63 characters"), (b"\xff\x00" * 32, "it is no text")],
)
def test_a_file_without_a_key_is_named(tmp_path: Path, text: str | bytes, why: str) -> None:
    said = wrong(key_file(tmp_path, text))[FILE]

    assert why in said
    assert KEY[1:11] not in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file" in wrong(KEYLESS | {FILE: str(tmp_path / "no")})[FILE]
    assert "No such file" in wrong(KEYLESS | {FILE: "~nobody-has-this-name/key"})[FILE]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is no file" in wrong(KEYLESS | {FILE: str(tmp_path)})[FILE]


def test_a_key_may_be_in_the_keyring(ring: dict[tuple[str, str], str]) -> None:
    ring["pollinator", "dev"] = KEY

    assert KEY == colony(KEYLESS | {RING: "dev"}).private_key


def test_a_keyring_without_the_key_says_how_to_set_it(ring: dict[tuple[str, str], str]) -> None:
    ring["others", "dev"] = KEY

    assert "keyring set pollinator dev" in wrong(KEYLESS | {RING: "dev"})[RING]


def test_a_keyring_with_something_else_says_so(ring: dict[tuple[str, str], str]) -> None:
    ring["pollinator", "dev"] = KEY[1:]
    said = wrong(KEYLESS | {RING: "dev"})[RING]

    assert "63 characters" in said
    assert KEY[1:11] not in said


@pytest.mark.usefixtures("ring")
def test_a_keyring_that_is_locked_says_so() -> None:
    assert "nobody unlocks it" in wrong(KEYLESS | {RING: "locked"})[RING]


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    assert "pip install 'pollinatord[keyring]'" in wrong(KEYLESS | {RING: "dev"})[RING]


@pytest.mark.parametrize(
    ("first", "second"),
    [("COLONIES_PRVKEY", FILE), ("COLONIES_PRVKEY", RING), ("COLONIES_EXECUTOR_PRVKEY", FILE), (FILE, RING)],
)
def test_a_key_comes_from_one_place(first: str, second: str, tmp_path: Path) -> None:
    environ = key_file(tmp_path, KEY) | {RING: "dev"}
    given = {name: environ.get(name, KEY) for name in (first, second)}

    assert f"beside {first}" in wrong(KEYLESS | given)[second]
