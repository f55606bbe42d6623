"""Who a key makes us, and signatures as the server checks them."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from coincurve import PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pollinator.executors.colonies.identity import Key, unique_id
from pollinator.wire.errors import InvalidInput

TEXT = "6d2fb6f546bacfd98c68769e61e0b44a697a30596c018a50e28200aa59b01c0a"
IDENTITY = "4fef2b5a82d134d058c1883c72d6d9caf77cd59ca82d73105017590dea3dcb87"
HELLO = "644bcc7e564373040999aac89e7622f3ca71fba1d972fd94a31c3bfbf24e3938"
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
PAYLOAD = base64.b64encode(json.dumps({"msgtype": "versionmsg"}).encode())

keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32).hex())


def signer(payload: bytes, signature: str) -> str:
    """The identity that a server finds in a signature."""
    found = PublicKey.from_signature_and_message(
        bytes.fromhex(signature), hashlib.sha3_256(payload).digest(), hasher=None
    )
    return hashlib.sha3_256(found.format(compressed=False).hex().encode()).hexdigest()


def test_an_identity_is_the_one_that_servers_know() -> None:
    assert IDENTITY == Key(TEXT).identity
    assert IDENTITY == Key(TEXT.upper()).identity
    assert HELLO == hashlib.sha3_256(b"hello world").hexdigest()


def test_the_same_is_signed_in_the_same_way() -> None:
    assert Key(TEXT).sign(PAYLOAD) == Key(TEXT).sign(PAYLOAD)
    assert Key(TEXT).sign(PAYLOAD) != Key(TEXT).sign(PAYLOAD + b"=")


@given(keys, st.binary(max_size=200).map(base64.b64encode))
def test_a_server_finds_the_signer_in_a_signature(text: str, payload: bytes) -> None:
    key = Key(text)

    signature = key.sign(payload)

    assert 130 == len(signature)
    assert int(signature[64:128], 16) <= ORDER // 2
    assert signature[128:] in ("00", "01")
    assert key.identity == signer(payload, signature)


@pytest.mark.parametrize(
    "text",
    ["", "secret", TEXT[:-1], TEXT + "0", f"0x{TEXT}", "g" * 64, "0" * 64, f"{ORDER:064x}", f"{TEXT}\n"],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Key(text)

    assert "bad_key" == caught.value.reason
    assert not text or text not in f"{caught.value.message} {caught.value.hint}"


def test_the_largest_key_is_one() -> None:
    assert 64 == len(Key(f"{ORDER - 1:064x}").identity)


def test_new_keys_differ() -> None:
    (first, key), (second, _) = Key.new(), Key.new()

    assert first != second
    assert Key(first).identity == key.identity


def test_names_of_objects_look_like_those_of_the_server() -> None:
    assert 64 == len(unique_id())
    assert unique_id() != unique_id()
