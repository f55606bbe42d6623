"""A project in the files of a colony as the original program lays it out, with what runs leave there.

Written with bare messages and requests: our own client has no part in it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from support.colonies.asking import Member
from support.colonies.sites import Site
from support.s3_servers import S3Server


class ColonyProject:
    """One project."""

    def __init__(self, site: Site, member: Member, bucket: S3Server) -> None:
        self.site = site
        self.name = secrets.token_hex(32)
        self._member = member
        self._bucket = bucket

    def label(self, tree: str) -> str:
        """The label of one of its trees."""
        return f"/pollinator/{self.name}/{tree}"

    def put(self, tree: str, files: Mapping[str, bytes]) -> None:
        """Have files there. An empty one has no object, as the original does it."""
        for path, data in files.items():
            self.add(f"{self.label(tree)}/{path}", data)

    def add(self, place: str, data: bytes, *, name: str = "") -> None:
        """Have a file at a label and a name, whatever they are."""
        label, _, last = place.rpartition("/")
        key = secrets.token_hex(32)
        if data:
            self._bucket.put(key, data)
        stored = {
            "server": self._bucket.endpoint.partition("://")[2],
            "port": -1,
            "tls": False,
            "accesskey": "",
            "secretkey": "",
            "region": "",
            "encryptionkey": "",
            "encryptionalg": "",
            "object": key,
            "bucket": self._bucket.bucket,
        }
        file = {
            "colonyname": self.site.name,
            "label": label,
            "name": name or last,
            "size": len(data),
            "checksum": hashlib.sha256(data).hexdigest(),
            "checksumalg": "SHA256",
            "ref": {"protocol": "s3", "s3object": stored},
        }
        self._ask("addfilemsg", file=file)

    def remove(self, tree: str, name: str) -> None:
        """Remove a file that lies directly in a tree."""
        at = {"label": self.label(tree), "name": name}
        self._ask("removefilemsg", colonyname=self.site.name, fileid="", **at)

    def snapshot(self) -> str:
        """A snapshot of its sources."""
        asked = {"colonyname": self.site.name, "label": self.label("src"), "name": secrets.token_hex(32)}
        return str(self._ask("createsnapshotmsg", **asked)["snapshotid"])

    def files(self, snapshot_id: str) -> dict[str, Any]:
        """The part of a function spec that says where its trees are."""
        at = f"/pollinator/{self.name}"
        keep = {"keeplocal": False}
        return {
            "mount": "/cfs",
            "snapshots": [
                {
                    "snapshotid": snapshot_id,
                    "label": self.label("src"),
                    "dir": f"{at}/{snapshot_id}/src",
                    "keepfiles": True,
                    "keepsnapshot": True,
                }
            ],
            "dirs": [
                {
                    "label": self.label("result"),
                    "dir": f"{at}/result",
                    "keepfiles": False,
                    "onconflicts": {"onstart": keep, "onclose": {"keeplocal": True}},
                },
                {
                    "label": self.label("data"),
                    "dir": f"{at}/data",
                    "keepfiles": True,
                    "onconflicts": {"onstart": keep, "onclose": keep},
                },
            ],
        }

    def spec(self, snapshot_id: str, program: str, command: str = "python3") -> dict[str, Any]:
        """What the original program says of a run of it, beside what all function specs have."""
        source = f"/cfs/pollinator/{self.name}/{snapshot_id}/src/{program}"
        return {
            "kwargs": {
                "docker-image": "python:3.12",
                "rebuild-image": False,
                "init-cmd": "",
                "cmd": command,
                "args": [source],
            },
            "fs": self.files(snapshot_id),
            "env": {"PROJECT_DIR": f"/cfs/pollinator/{self.name}"},
        }

    def results(self) -> dict[str, bytes]:
        """All that is in its results, by path."""
        root = self.label("result")
        labels: list[Any] = (
            self._ask("getfilelabelsmsg", colonyname=self.site.name, name=root, exact=False) or []
        )
        found: dict[str, bytes] = {}
        for label in [each["name"] for each in labels if each["name"].startswith(root)]:
            rows: list[Any] = self._ask("getfilesmsg", colonyname=self.site.name, label=label) or []
            for row in rows:
                path = f"{label}/{row['name']}".removeprefix(f"{root}/")
                found[path] = self._bucket.get(row["s3filename"])
                assert row["checksum"] == hashlib.sha256(found[path]).hexdigest()
        return found

    def _ask(self, kind: str, **fields: Any) -> Any:
        return self.site.line.ask(self._member, kind, **fields).granted
