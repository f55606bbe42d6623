"""What is remembered of images in a folder that others may use as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.containers.engines import Engines
from pollinator.executors.containers.images import ContainerImages
from pollinator.executors.containers.kept import Kept, Record


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o600), (0o755, 0o644), (0o2770, 0o660)])
def test_only_who_may_write_to_the_folder_may_change_what_is_remembered(
    tmp_path: Path, folder_mode: int, file_mode: int
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    folder.chmod(folder_mode)
    Kept(folder).note("k", Record("python:3.12", "sha256:1", "apptainer", 1, "/x"))
    Kept(folder).note_meaning("docker.io/library/python:3.12", "sha256:1")

    assert [file_mode] * 2 == [path.stat().st_mode & 0o777 for path in folder.glob("*/*.json")]


def test_what_is_removed_is_the_image_and_not_what_somebody_wrote_into_its_record(tmp_path: Path) -> None:
    folder, precious = tmp_path / "images", tmp_path / "precious"
    (folder / "sif").mkdir(parents=True)
    (folder / "sif" / "k.sif").touch()
    precious.mkdir()
    Kept(folder).note("k", Record("python:3.12", "sha256:1", "apptainer", 1, str(precious)))

    removed = ContainerImages(Engines([]), folder=str(folder)).prune(0, dry_run=False)

    assert ["sha256:1"] == [each.digest for each in removed]
    assert precious.exists()
    assert not (folder / "sif" / "k.sif").exists()
