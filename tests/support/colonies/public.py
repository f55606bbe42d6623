"""An executor of a colony as the public ones are, whose every step is a test's."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.colonies.asking import Member
from support.colonies.playing import Play
from support.colonies.sites import Site
from support.s3_servers import S3Server

ENV = 3


@dataclass
class Public:
    """One executor, and the process that it has."""

    site: Site
    s3: S3Server
    kind: str = ""
    """Its type, of its own unless one is named: a server wakes one of a type that waits, whoever is meant."""
    play: Play = field(init=False)
    process: Any = None

    def __post_init__(self) -> None:
        self.play = Play(self.site, self.kind)

    @property
    def member(self) -> Member:
        """The executor."""
        return self.play.executor

    @property
    def name(self) -> str:
        """Its name."""
        return self.member.name

    @property
    def id(self) -> str:
        """Of the process that it has."""
        return str(self.process["processid"])

    def take(self, timeout_s: int = 20) -> Any:
        """Take the next process; returns its function spec."""
        self.process = self.play.assign(timeout=timeout_s).granted
        return self.process["spec"]

    def says(self, *texts: str) -> None:
        """Add rows to the log."""
        for text in texts:
            self.play.log(self.id, text).granted  # noqa: B018 - fails where it is refused

    def runs_on(self, *nodes: str) -> None:
        """Tell where it runs."""
        self.tells("NODES", ",".join(nodes))

    def tells(self, key: str, value: str) -> None:
        """Set an attribute."""
        attribute = {
            "targetid": self.id,
            "targetcolonyname": self.site.name,
            "attributetype": ENV,
            "key": key,
            "value": value,
        }
        self.site.line.ask(self.member, "addattributemsg", attribute=attribute).granted  # noqa: B018

    def leaves(self, files: Mapping[str, bytes]) -> None:
        """Bring results where the process says."""
        mounts = self.process["spec"]["fs"]["dirs"]
        label = next(each["label"] for each in mounts if each["dir"].endswith("/result"))
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            self._upload(f"{label}/{folder}".rstrip("/"), name, content)

    def files(self) -> dict[str, bytes]:
        """What the process is to find in its src, as a snapshot is read."""
        found: dict[str, bytes] = {}
        for mount in self.process["spec"]["fs"]["snapshots"]:
            asked = {"colonyname": self.site.name, "snapshotid": mount["snapshotid"], "name": ""}
            snapshot = self.site.line.ask(self.member, "getsnapshotmsg", **asked).granted
            for file_id in snapshot["fileids"] or ():
                asked = {"colonyname": self.site.name, "fileid": file_id, "label": "", "name": ""}
                (file,) = self.site.line.ask(self.member, "getfilemsg", **asked, latest=False).granted
                below = file["label"].removeprefix(mount["label"]).strip("/")
                body = self.s3.get(file["ref"]["s3object"]["object"])
                found[f"{below}/{file['name']}".lstrip("/")] = body
        return found

    def data_folder(self) -> str:
        """Where it keeps the data of the process."""
        return str(self._data()["dir"])

    def data(self) -> dict[str, str]:
        """The data of the process as its label has it now, by path: checksums."""
        root = self._data()["label"]
        asked = {"colonyname": self.site.name, "name": root, "exact": False}
        labels = self.site.line.ask(self.member, "getfilelabelsmsg", **asked).granted or ()
        found: dict[str, str] = {}
        for label in [each["name"] for each in labels if f"{each['name']}/".startswith(f"{root}/")]:
            rows = self.site.line.ask(
                self.member, "getfilesmsg", colonyname=self.site.name, label=label
            ).granted
            found |= {f"{label}/{row['name']}".removeprefix(f"{root}/"): row["checksum"] for row in rows}
        return found

    def _data(self) -> dict[str, str]:
        mounts: list[dict[str, str]] = self.process["spec"]["fs"]["dirs"]
        return next(each for each in mounts if each["dir"].endswith("/data"))

    def closes(self) -> None:
        """It went well."""
        self.play.close(self.id).granted  # noqa: B018

    def fails(self, *errors: str) -> None:
        """It did not."""
        self.play.fail(self.id, *errors).granted  # noqa: B018

    def state(self) -> int:
        """Of the process."""
        return int(self.play.get(self.id)["state"])

    def _upload(self, label: str, name: str, content: bytes) -> None:
        key = secrets.token_hex(32)
        # As the originals do, which upload nothing where there is nothing.
        if content:
            self.s3.put(key, content)
        place = {"server": self.s3.endpoint.partition("://")[2], "port": -1, "tls": False, "object": key}
        file = {
            "colonyname": self.site.name,
            "label": label,
            "name": name,
            "size": len(content),
            "checksum": hashlib.sha256(content).hexdigest(),
            "checksumalg": "SHA256",
            "ref": {"protocol": "s3", "s3object": {**place, "bucket": self.s3.bucket}},
        }
        self.site.line.ask(self.member, "addfilemsg", file=file).granted  # noqa: B018
