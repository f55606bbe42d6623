"""A Ceph cluster of one monitor, one object store in memory, and an S3 gateway, all on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

from support.components import NotUp, Process, listens, program
from support.scripted_s3 import unused_port

SOURCE = "apt-get install radosgw ceph-mon ceph-osd ceph-base ceph-common, or make components"
FORM_S = 30.0
"""How long a command to the cluster is repeated: at first there is no quorum."""

_CONFIG = """\
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{monitor}]
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket =
# One copy, on the one store there is.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000

[mon]
mon_data = {folder}/mon
mon_data_avail_crit = 1
# A start within two seconds instead of twelve.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
# What it would tell the monitor at its start races with the monitor's own; commands do it instead.
osd_class_update_on_start = false
osd_crush_update_on_start = false

[client.rgw]
rgw_data = {folder}/rgw
# Without tcp_nodelay every answer waits 40 ms.
rgw_frontends = beast endpoint=127.0.0.1:{http} ssl_endpoint=127.0.0.1:{https} \
ssl_certificate={certificate} ssl_private_key={key} tcp_nodelay=1
rgw_dns_name = localhost
rgw_enable_usage_log = false
rgw_enable_lc_threads = false
rgw_enable_gc_threads = false
rgw_dynamic_resharding = false
rgw_run_sync_thread = false
rgw_md_log_max_shards = 4
rgw_data_log_num_shards = 4
rgw_gc_max_objs = 4
"""
_ISSUES = """\
rgw_s3_auth_use_sts = true
rgw_sts_key = {token_key}
"""
"""It issues credentials for a while. Of wrong keys it then says no more than that they are refused."""


def _policy(action: str, **about: object) -> str:
    statement = {"Effect": "Allow", "Action": [action], **about}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Ceph:
    """The cluster. It keeps objects in memory as long as only the gateway is stopped.

    Args:
        folder: an empty one for all it writes.
        certificate: of the gateway.
        key: of the certificate.
        issues: it issues credentials for a while.

    Raises:
        NotUp: it did not come up; another try may.
    """

    def __init__(self, folder: Path, certificate: Path, key: Path, *, issues: bool = False) -> None:
        names = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
        self._programs = {name: program(name, "s3", SOURCE) for name in names}
        self._folder = folder
        self._config = folder / "ceph.conf"
        self.http, self.https = unused_port(), unused_port()
        self._processes: dict[str, Process] = {}
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()
        fsid, monitor = str(uuid.uuid4()), unused_port()
        self._config.write_text(
            _CONFIG.format(
                fsid=fsid,
                folder=folder,
                monitor=monitor,
                http=self.http,
                https=self.https,
                certificate=certificate,
                key=key,
            )
            + (_ISSUES.format(token_key=uuid.uuid4().hex[:16]) if issues else "")
        )
        try:
            self._form(fsid, f"[v1:127.0.0.1:{monitor}]")
            self.start_gateway()
        except BaseException:
            self.stop()
            raise

    def start_gateway(self) -> None:
        """Start the S3 server."""
        self._start("radosgw", "-n", "client.rgw")
        gateway = self._processes["radosgw"]
        gateway.wait_for(lambda: listens(self.http) and listens(self.https), "radosgw")

    def stop_gateway(self) -> None:
        """Stop the S3 server only."""
        self._processes.pop("radosgw").stop()

    def add_user(self, access_key: str, secret_key: str) -> None:
        """Make a user with these keys."""
        keys = ["--access-key", access_key, "--secret-key", secret_key]
        self._run("radosgw-admin", "user", "create", "--uid", access_key, "--display-name", "tests", *keys)

    def limit_user(self, access_key: str, most_bytes: int) -> None:
        """Give a user a quota."""
        of = ["--quota-scope", "user", "--uid", access_key]
        self._run("radosgw-admin", "quota", "set", *of, "--max-size", f"{most_bytes}B")
        self._run("radosgw-admin", "quota", "enable", *of)

    def add_role(self, name: str, access_key: str) -> None:
        """Make a role that this user may take; it may do with objects what anybody may."""
        trust = _policy("sts:AssumeRole", Principal={"AWS": [f"arn:aws:iam:::user/{access_key}"]})
        self._run(
            "radosgw-admin", "role", "create", f"--role-name={name}", f"--assume-role-policy-doc={trust}"
        )
        allowed = _policy("s3:*", Resource=["arn:aws:s3:::*"])
        named = [f"--role-name={name}", "--policy-name=all"]
        self._run("radosgw-admin", "role-policy", "put", *named, f"--policy-doc={allowed}")

    def stop(self) -> None:
        """End every process."""
        for name in list(self._processes):
            self._processes.pop(name).stop()

    def _form(self, fsid: str, monitor: str) -> None:
        monitors = str(self._folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, monitors)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors)
        self._start("ceph-mon", "-i", "a", "--public-addr", "127.0.0.1")
        store = str(uuid.uuid4())
        self._run("ceph", "osd", "new", store, tries_s=FORM_S)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0", tries_s=FORM_S)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store)
        self._start("ceph-osd", "-i", "0")

    def _start(self, name: str, *arguments: str) -> None:
        command = [self._programs[name], "--conf", str(self._config), "--foreground", *arguments]
        self._processes[name] = Process(command, self._folder / f"{name}.out")

    def _run(self, name: str, *arguments: str, tries_s: float = 0.0) -> None:
        command = [self._programs[name], *arguments]
        deadline = time.monotonic() + tries_s
        while True:
            try:
                done = subprocess.run(
                    command,
                    env=os.environ | {"CEPH_CONF": str(self._config)},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=FORM_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise NotUp(f"{name} {arguments[0]} hangs") from error
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise NotUp(f"{name} {arguments[0]} ended with {done.returncode}: {done.stderr[-1000:]!r}")
