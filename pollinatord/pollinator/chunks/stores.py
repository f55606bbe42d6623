"""Opening the store that settings describe."""

from __future__ import annotations

from pathlib import Path

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.store import Store
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput


def namespace(project: str) -> str:
    """Where the objects of a project are in every store."""
    return f"pollinator/{project}"


def open_store(settings: StoreSettings, project: str, *, own: Store | None = None) -> Store:
    """The store of a project.

    Args:
        settings: where it is.
        project: name of the project.
        own: what ``settings.own`` stands for.

    Raises:
        InvalidInput: the settings cannot be meant.
    """
    match settings.WhichOneof("kind"):
        case "folder":
            root = Path(settings.folder.path) if settings.folder.path else places.state_dir() / "store"
            return FolderStore(root / namespace(project))
        case "s3":
            return S3Store(settings.s3, namespace(project))
        case "own" if own is not None:
            return own
        case _:
            raise InvalidInput("the settings name no store", reason="store_missing")
