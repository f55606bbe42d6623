"""Who has signed a message: the key comes out of the signature, and the identity follows from the key."""

from __future__ import annotations

import hashlib
import re

from coincurve import PublicKey

from support.colonies.refusing import Refusal

_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_LENGTH = 65
_NO_HEX = re.compile("[^0-9a-fA-F]")


def signer(payload: str, signature: str) -> str:
    """Identity of whoever has signed this text.

    Raises:
        Refusal: nobody can have.
    """
    raw = _bytes(signature)
    if len(raw) != _LENGTH:
        raise Refusal(403, "Invalid signature length")
    # The sixth and seventh are of compressed keys, which come out the same.
    code = raw[64] + 27
    if not 27 <= code <= 34:
        raise _unrecoverable(f"public key recovery code {code} is not in the valid range [27, 34]")
    for name, scalar in (("R", raw[:32]), ("S", raw[32:64])):
        if not (value := int.from_bytes(scalar)):
            raise _unrecoverable(f"{name} is 0")
        if value >= _ORDER:
            raise _unrecoverable(f"{name} >= group order")
    digest = hashlib.sha3_256(payload.encode()).digest()
    try:
        key = PublicKey.from_signature_and_message(raw[:64] + bytes([raw[64] & 3]), digest, hasher=None)
    except Exception as error:
        why = "signature R + N >= P" if raw[64] & 2 else "not for a valid curve point"
        raise _unrecoverable(why) from error
    if int.from_bytes(raw[32:64]) > _ORDER // 2:
        raise Refusal(403, "Failed verify signature: Signature s value is over half the order")
    return hashlib.sha3_256(key.format(compressed=False).hex().encode()).hexdigest()


def _unrecoverable(why: str) -> Refusal:
    return Refusal(403, f"Failed to recover public key: invalid signature: {why}")


def _bytes(signature: str) -> bytes:
    if wrong := _NO_HEX.search(signature):
        character = wrong[0]
        raise Refusal(403, f"encoding/hex: invalid byte: U+{ord(character):04X} {character!r}")
    if len(signature) % 2:
        raise Refusal(403, "encoding/hex: odd length hex string")
    return bytes.fromhex(signature)
