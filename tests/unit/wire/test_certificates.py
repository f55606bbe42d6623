"""Pairs of certificates: who believes whom, who may read the keys, and what is said of bad ones."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509

from pollinator.wire.certificates import Identity, folder_of, make_pair, read_identity
from pollinator.wire.errors import AlreadyExists, InvalidInput, PollinatorError


def test_keys_are_for_their_user_alone(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair", "hall", ["hall.example.org", "10.0.0.1", "::1"])

    for side in (pair.server, pair.client):
        assert 0o600 == stat.S_IMODE(side.key.stat().st_mode)
        assert 0o700 == stat.S_IMODE(side.key.parent.stat().st_mode)
        read_identity(side)


def test_a_certificate_says_for_what_and_for_whom_it_is(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "hall", ["hall.example.org", "10.0.0.1"])
    server, client = (
        x509.load_pem_x509_certificate(side.certificate.read_bytes()) for side in (pair.server, pair.client)
    )

    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ["hall.example.org"] == names.get_values_for_type(x509.DNSName)
    assert ["10.0.0.1"] == [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    usages = [
        cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for cert in (server, client)
    ]
    assert [["serverAuth"], ["clientAuth"]] == [[each._name for each in usage] for usage in usages]


def test_a_pair_is_replaced_only_when_that_is_wished(tmp_path: Path) -> None:
    before = make_pair(tmp_path, "hall", ["hall"]).client.certificate.read_bytes()
    with pytest.raises(AlreadyExists, match="there are certificates"):
        make_pair(tmp_path, "hall", ["hall"])

    after = make_pair(tmp_path, "hall", ["hall"], replace=True).client.certificate.read_bytes()

    assert before != after


@pytest.mark.parametrize("host", ["", "a b", "müller", "a/b"])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidInput, match="not the name of a host"):
        make_pair(tmp_path, "hall", [host])


@pytest.mark.parametrize("name", ["../x", "/x", "..", "a/b", "Hall", "", "x" * 64])
def test_what_can_name_no_executor_names_no_folder_and_no_pair(tmp_path: Path, name: str) -> None:
    for make in (lambda: folder_of(name), lambda: make_pair(tmp_path / "given", name, ["hall"])):
        with pytest.raises(InvalidInput) as caught:
            make()

        assert "bad_name" == caught.value.reason
    assert not (tmp_path / "given").exists()


def said(side: Identity) -> str:
    with pytest.raises(PollinatorError) as caught:
        read_identity(side)
    return caught.value.reason


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    side = make_pair(tmp_path / "one", "hall", ["hall"]).client
    other = make_pair(tmp_path / "two", "hall", ["hall"]).client
    old = make_pair(tmp_path / "old", "hall", ["hall"], days=0).client

    assert "certificate_expired" == said(old)
    assert "certificate_unusable" == said(Identity(side.certificate, other.key, side.authority))
    assert "certificate_missing" == said(Identity(side.certificate, tmp_path / "none", side.authority))
    side.certificate.write_text("rubbish")
    assert "certificate_unusable" == said(side)
    other.key.chmod(0o640)
    assert "certificate_unusable" == said(other)


def test_it_begins_a_little_earlier_and_ends_in_two_years(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "hall", ["hall"])
    certificate = x509.load_pem_x509_certificate(pair.server.certificate.read_bytes())

    now = dt.datetime.now(dt.UTC)
    assert certificate.not_valid_before_utc < now - dt.timedelta(minutes=50)
    assert dt.timedelta(days=729) < certificate.not_valid_after_utc - now < dt.timedelta(days=731)
