"""Opening the store that settings describe."""

from __future__ import annotations

from pathlib import Path

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keys import namespace
from pollinator.chunks.store import Store
from pollinator.chunks.traffic import Traffic
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput


def open_store(
    settings: StoreSettings, project: str, *, own: Store | None = None, traffic: Traffic | None = None
) -> Store:
    """The store of a project. Makes no request yet.

    Args:
        settings: where it is.
        project: name of the project.
        own: what ``settings.own`` stands for, already that of the project.
        traffic: what a bucket shares with others of this process; a folder is on this machine.

    Raises:
        InvalidInput: the settings or the name cannot be meant.
    """
    place = namespace(project)
    match settings.WhichOneof("kind"):
        case "folder":
            root = Path(settings.folder.path) if settings.folder.path else places.state_dir() / "store"
            if not root.is_absolute():
                raise InvalidInput(f"the store's folder {root} is not absolute", reason="bad_store")
            return FolderStore(root / place)
        case "s3":
            # boto3 costs a quarter of a second to import: only those with a bucket pay it.
            from pollinator.chunks.s3 import S3Store

            return S3Store(settings.s3, place, traffic=traffic)
        case "own" if own is not None:
            return own
        case _:
            raise InvalidInput("the settings name no store", reason="store_missing")
