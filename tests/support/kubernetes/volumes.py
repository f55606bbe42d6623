"""Volumes of pods, as folders of this machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.kubernetes.access import Access, account
from support.kubernetes.kinds import CLAIM, CONFIG_MAP, SECRET, VOLUME, Obj, is_obj, list_of, part
from support.kubernetes.store import Store
from support.kubernetes.variables import Missing, expanded, field_of, values

SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Bound:
    """A place of this machine that a container sees."""

    source: str
    target: str
    read_only: bool


class Volumes:
    """Those of one pod.

    Args:
        store: where secrets and claims are.
        access: makes the tokens of accounts.
        folder: of the pod.
    """

    def __init__(self, store: Store, access: Access, folder: Path) -> None:
        self._store, self._access, self._folder = store, access, folder
        self._memory = SHM / "-".join(folder.parts[-3:])
        self._there: dict[str, tuple[Path, bool]] = {}

    def prepare(self, pod: Obj) -> None:
        """Have all of them.

        Raises:
            Missing: one cannot be had yet; what is told of it.
        """
        for volume in list_of(pod["spec"], "volumes"):
            name = volume["name"]
            if name in self._there:
                # What could be had before one was missing.
                continue
            try:
                self._there[name] = self._made(pod, volume)
            except Missing as missing:
                raise Missing(f'MountVolume.SetUp failed for volume "{name}" : {missing}') from missing

    def mounts(self, container: Obj, env: dict[str, str]) -> list[Bound]:
        """What a container sees of them.

        Raises:
            Missing: a path below a volume cannot be used.
        """
        return [self._mount(container["name"], row, env) for row in list_of(container, "volumeMounts")]

    def remove(self) -> None:
        """Delete those that end with the pod."""
        shutil.rmtree(self._memory, ignore_errors=True)
        shutil.rmtree(self._folder / "volumes", ignore_errors=True)

    def _made(self, pod: Obj, volume: Obj) -> tuple[Path, bool]:
        """Where it is, and whether it is only read."""
        namespace = pod["metadata"]["namespace"]
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            return self._claimed(namespace, claim["claimName"]), bool(claim.get("readOnly"))
        if (path := volume.get("hostPath")) is not None:
            return _host_path(path), False
        if (empty := volume.get("emptyDir")) is not None:
            top = self._memory if empty.get("medium") == "Memory" else self._folder / "volumes"
            folder = top / volume["name"]
            folder.mkdir(parents=True)
            folder.chmod(0o777)
            return folder, False
        files = self._files(pod, volume)
        return self._written(pod, volume["name"], files, _mode(volume)), True

    def _claimed(self, namespace: str, name: str) -> Path:
        claim = self._store.find(CLAIM, namespace, name)
        if claim is None:
            raise Missing(f'persistentvolumeclaim "{name}" not found')
        volume = self._store.get(VOLUME, "", claim["spec"]["volumeName"])
        spec: Any = volume["spec"].get("hostPath") or volume["spec"].get("local")
        return _host_path(spec)

    def _files(self, pod: Obj, volume: Obj) -> dict[str, bytes]:
        namespace = pod["metadata"]["namespace"]
        if (secret := volume.get("secret")) is not None:
            return self._entries(SECRET, namespace, secret["secretName"], secret)
        if (config := volume.get("configMap")) is not None:
            return self._entries(CONFIG_MAP, namespace, config["name"], config)
        if (down := volume.get("downwardAPI")) is not None:
            return _fields(pod, down)
        files: dict[str, bytes] = {}
        for source in list_of(volume, "projected", "sources"):
            if (token := source.get("serviceAccountToken")) is not None:
                user = account(namespace, pod["spec"].get("serviceAccountName", "default"))
                issued = self._access.issue(user, token.get("expirationSeconds") or 3600)
                files[token["path"]] = issued.encode()
            for kind, field in ((SECRET, "secret"), (CONFIG_MAP, "configMap")):
                if (ref := source.get(field)) is not None:
                    files |= self._entries(kind, namespace, ref["name"], ref)
            if (down := source.get("downwardAPI")) is not None:
                files |= _fields(pod, down)
        return files

    def _entries(self, kind: Any, namespace: str, name: str, ref: Obj) -> dict[str, bytes]:
        try:
            found = values(self._store, kind, namespace, name, optional=bool(ref.get("optional")))
        except Missing:
            raise Missing(f'{kind.name.lower()} "{name}" not found') from None
        if not (items := ref.get("items")):
            return found
        if missing := [each["key"] for each in items if each["key"] not in found]:
            raise Missing(f"references non-existent {kind.name.lower()} key: {missing[0]}")
        return {each["path"]: found[each["key"]] for each in items}

    def _written(self, pod: Obj, name: str, files: dict[str, bytes], mode: int) -> Path:
        folder = self._folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        group: int | None = part(pod["spec"], "securityContext").get("fsGroup")
        for path, data in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(mode | (0o040 if group else 0))
            if group:
                os.chown(file, 0, group)
        return folder

    def _mount(self, container: str, row: Obj, env: dict[str, str]) -> Bound:
        base, only_read = self._there[row["name"]]
        below = row.get("subPath") or expanded(row.get("subPathExpr") or "", env)
        source = base / below
        if below and not Path(os.path.realpath(source)).is_relative_to(os.path.realpath(base)):
            raise Missing(
                f'failed to prepare subPath for volumeMount "{row["name"]}" of container "{container}"'
            )
        if below and not source.exists():
            if only_read:
                where = f'volumeMount "{row["name"]}" of container "{container}"'
                raise Missing(f"failed to create subPath directory for {where}")
            source.mkdir(parents=True, mode=0o755)
        return Bound(os.path.realpath(source), row["mountPath"], only_read or bool(row.get("readOnly")))


def _host_path(spec: Obj) -> Path:
    path = Path(spec["path"])
    match spec.get("type") or "":
        case "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        case "Directory" if not path.is_dir():
            raise Missing("hostPath type check failed: " + f"{path} is not a directory")
        case _:
            pass
    return path


def _fields(pod: Obj, source: Obj) -> dict[str, bytes]:
    return {
        each["path"]: field_of(pod, each["fieldRef"]["fieldPath"]).encode()
        for each in list_of(source, "items")
    }


def _mode(volume: Obj) -> int:
    found = next((each for each in volume.values() if is_obj(each) and "defaultMode" in each), Obj())
    return int(found.get("defaultMode", 0o644))
