"""Making an image ready, by a program that stands in for the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.containers import convert
from pollinator.executors.containers.convert import Conversion
from pollinator.executors.containers.engines import Engine
from pollinator.executors.containers.reference import parse_reference
from pollinator.wire.errors import WrongState

MAKES_WHAT_NEVER_BEGINS = """\
#!/bin/sh
case "$*" in *--help) exit 0;; exec*) exec sleep 60;; esac
while [ $# -gt 2 ]; do shift; done
: > "$1"
"""


def test_an_image_that_never_begins_to_run_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "apptainer"
    program.write_text(MAKES_WHAT_NEVER_BEGINS)
    program.chmod(0o755)
    monkeypatch.setattr(convert, "TRY_S", 1.0)
    engine = Engine("apptainer", str(program), "1.4.5")
    conversion = Conversion(engine, parse_reference("oci-archive:/some.tar"), "sha256:1", 0)
    (tmp_path / "sif").mkdir()

    with pytest.raises(WrongState) as caught:
        conversion.run(tmp_path / "sif" / "k.sif", tmp_path, lambda done: None)

    assert "image_failed" == caught.value.reason
    assert [] == list((tmp_path / "sif").iterdir())
