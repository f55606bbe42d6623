"""Messages over the wire, and signatures. Of the double, and of a real server if there is one."""

from __future__ import annotations

import base64
import json

import pytest
from coincurve import PrivateKey

from support.colonies.asking import Member, envelope, stranger
from support.colonies.sites import Site

pytestmark = pytest.mark.integration

NO_KEY = "Failed to recover public key: invalid signature"
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


@pytest.fixture(scope="module")
def user(colony: Site) -> Member:
    return colony.user()


def test_the_identity_of_a_key_is_that_of_the_servers_own_tests() -> None:
    known = Member("known", "6d2fb6f546bacfd98c68769e61e0b44a697a30596c018a50e28200aa59b01c0a")

    assert "4fef2b5a82d134d058c1883c72d6d9caf77cd59ca82d73105017590dea3dcb87" == known.identity


def test_a_member_is_answered_in_the_type_of_the_question(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "getcolonymsg", colonyname=colony.name)

    assert ("getcolonymsg", colony.name) == (said.kind, said.granted["name"])
    assert colony.owner.identity == said.content["colonyid"]


def test_a_request_may_be_sent_again(colony: Site, user: Member) -> None:
    body = envelope(user, "getcolonymsg", {"colonyname": colony.name})

    assert [200, 200] == [colony.line.send(body).status for _ in range(2)]


def test_the_version_is_told_without_a_signature(colony: Site) -> None:
    payload = base64.b64encode(b'{"msgtype": "versionmsg"}').decode()
    said = colony.line.send(json.dumps({"payloadtype": "versionmsg", "payload": payload}))

    assert {"buildversion", "buildtime", "msgtype"} == set(said.granted)
    assert "versionmsg" == said.content["msgtype"]


def test_health_is_an_empty_page(colony: Site) -> None:
    said = colony.line.send("", "/health", "GET")

    assert (200, None) == (said.status, said.content)


def test_an_unknown_kind_is_refused(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "nosuchmsg")

    assert (403, "invalid rpcMsg.PayloadType: nosuchmsg") == said.refusal


def test_a_kind_that_is_said_inside_as_well_must_be_the_same(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "getprocessmsg", msgtype="getlogsmsg", processid="x")

    assert (400, "Failed to get process, msg.MsgType does not match payloadType") == said.refusal


def test_a_number_written_as_text_cannot_be_read(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "getprocessesmsg", colonyname=colony.name, count="1", state=0)

    assert (400, "Failed to get processes, invalid JSON") == said.refusal


def test_what_is_no_json_is_refused(colony: Site) -> None:
    assert (400, "unexpected end of JSON input") == colony.line.send("{").refusal


def test_names_of_fields_may_be_in_capitals(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "getcolonymsg", ColonyName=colony.name)

    assert colony.name == said.granted["name"]


def test_a_payload_that_was_changed_is_of_a_stranger(colony: Site, user: Member) -> None:
    payload = base64.b64encode(b'{"msgtype": "getcolonymsg", "colonyname": "%b"}' % colony.name.encode())
    body = envelope(user, "getcolonymsg", {"colonyname": "other"}, payload=payload.decode())

    denied = f"Access denied, not a member of Colony with name <{colony.name}>"
    assert (403, denied) == colony.line.send(body).refusal


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("zz", "encoding/hex: invalid byte: U+007A 'z'"),
        ("0", "encoding/hex: odd length hex string"),
        ("00", "Invalid signature length"),
        ("00" * 65, f"{NO_KEY}: R is 0"),
        ("11" * 32 + "00" * 33, f"{NO_KEY}: S is 0"),
        ("11" * 32 + "ff" * 32 + "00", f"{NO_KEY}: S >= group order"),
        ("ff" * 64 + "00", f"{NO_KEY}: R >= group order"),
        ("11" * 64 + "02", f"{NO_KEY}: signature R + N >= P"),
        (
            "11" * 64 + "09",
            f"{NO_KEY}: public key recovery code 36 is not in the valid range [27, 34]",
        ),
    ],
)
def test_what_is_no_signature_is_refused(colony: Site, user: Member, signature: str, why: str) -> None:
    body = envelope(user, "getcolonymsg", {"colonyname": colony.name}, signature=signature)

    assert (403, why) == colony.line.send(body).refusal


def test_a_signature_whose_s_is_high_is_refused(colony: Site, user: Member) -> None:
    outer = json.loads(envelope(user, "getcolonymsg", {"colonyname": colony.name}))
    r, s, code = outer["signature"][:64], outer["signature"][64:128], outer["signature"][128:]
    turned = f"{r}{ORDER - int(s, 16):064x}{int(code, 16) ^ 1:02x}"

    refused = colony.line.send(json.dumps({**outer, "signature": turned}))

    assert (403, "Failed verify signature: Signature s value is over half the order") == refused.refusal


def test_a_recovery_id_that_counts_from_27_is_refused(colony: Site, user: Member) -> None:
    outer = json.loads(envelope(user, "getcolonymsg", {"colonyname": colony.name}))
    code = int(outer["signature"][128:], 16) + 27
    refused = colony.line.send(json.dumps({**outer, "signature": f"{outer['signature'][:128]}{code:02x}"}))

    assert 403 == refused.status


def test_the_digits_of_the_payload_are_signed_not_what_they_stand_for(colony: Site) -> None:
    member = stranger()
    text = b'{"msgtype": "getcolonymsg", "colonyname": "%b"}' % colony.name.encode()
    key = PrivateKey(bytes.fromhex(member.key))
    colony.line.ask(
        colony.owner,
        "addusermsg",
        user={"colonyname": colony.name, "userid": member.identity, "name": colony.fresh("digits")},
    )
    outer = {
        "payloadtype": "getcolonymsg",
        "payload": base64.b64encode(text).decode(),
        "signature": key.sign_recoverable(text).hex(),  # pyright: ignore[reportUnknownMemberType] # its nonce
    }

    assert 403 == colony.line.send(json.dumps(outer)).status
