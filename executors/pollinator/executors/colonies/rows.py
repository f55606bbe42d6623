"""Pieces of what ranks print as rows of a log, which holds text and knows of no ranks, and back.

What the first rank prints is the row itself, as long as it is text: that is what others read.
"""

from __future__ import annotations

import re

_MARK = re.compile("\x02([0-9]{1,9})\x03")
"""Before what another rank printed."""
_SPARE = 0x10FE00
"""Of the letters from here on, which are nobody's, each stands for a byte that is part of no letter."""
_OURS = re.compile(f"[{chr(_SPARE)}-{chr(_SPARE + 255)}]")
_NO_TEXT = re.compile("[\0\udc80-\udcff]")


def row_of(rank: int, data: bytes) -> str:
    """The row for a piece."""
    text = data.decode("utf-8", "surrogateescape")
    text = _OURS.sub(lambda found: "".join(chr(_SPARE + byte) for byte in found[0].encode()), text)
    text = _NO_TEXT.sub(lambda found: chr(_SPARE + (ord(found[0]) & 0xFF)), text)
    return f"\x02{rank}\x03{text}" if rank or _MARK.match(text) else text


def piece_of(text: str) -> tuple[int, bytes]:
    """The rank and the piece that a row is for; whoever else wrote it, it is of the first."""
    found = _MARK.match(text)
    rank, text = (int(found[1]), text[found.end() :]) if found else (0, text)
    escaped = _OURS.sub(
        lambda each: chr(0xDC00 + byte if (byte := ord(each[0]) - _SPARE) > 127 else byte), text
    )
    return rank, _encoded(escaped)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half of a letter, from somebody else.
        return text.encode("utf-8", "replace")
