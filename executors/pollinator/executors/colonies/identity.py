"""Who asks a Colonies server: a private key, the identity that follows from it, and signatures.

The only module that imports coincurve.
"""

from __future__ import annotations

import hashlib
import secrets

from coincurve import PrivateKey

from pollinator.wire.colony_env import is_private_key
from pollinator.wire.errors import InvalidInput


class Key:
    """A private key on secp256k1.

    Args:
        text: 64 hexadecimal digits.

    Raises:
        InvalidInput: this is no key. The text is never repeated.
    """

    def __init__(self, text: str) -> None:
        if not is_private_key(text):
            raise InvalidInput(
                "this is no private key of a Colonies server",
                reason="bad_key",
                hint="a private key is 64 hexadecimal digits",
            )
        self._key = PrivateKey(bytes.fromhex(text))
        public = self._key.public_key.format(compressed=False).hex()
        # Of the digits, not of the bytes.
        self.identity = _sha3(public.encode()).hex()

    @classmethod
    def new(cls) -> tuple[str, Key]:
        """One that nobody has: its text and itself."""
        text = PrivateKey().secret.hex()
        return text, cls(text)

    def sign(self, payload: bytes) -> str:
        """Signature of a payload as it is sent, in base64.

        Its r, s and recovery id, in 130 hexadecimal digits. The same for the same payload.
        """
        digest = _sha3(payload)
        return self._key.sign_recoverable(digest, hasher=None).hex()  # pyright: ignore[reportUnknownMemberType] - of its types one is half said


def unique_id() -> str:
    """A new name for an object, as the server makes them: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def _sha3(data: bytes) -> bytes:
    return hashlib.sha3_256(data).digest()
