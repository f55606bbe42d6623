"""A real Slurm cluster on this machine: controller, three nodes, munge, and accounting where it is asked for.

It is up in half a second, with accounting in some five. All of it is on loopback, in one folder, and child of
the tests; only what runs jobs is not: that is found by its environment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pollinator.executors.processes import below
from support.components import Process, listens, program
from support.s3_servers import started
from support.sandbox import wait_until
from support.scripted_s3 import unused_port
from support.slurm_files import GPUS, Options, Ports, write_files

SOURCE = "apt-get install slurm-wlm munge slurmdbd mariadb-server, or make components"
CALL_S = 20.0
UP_S = 30.0
ENDS_S = 20.0

_IN_USE = ("idle", "mixed", "allocated")
_USUAL = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": "/"}
_NAMES = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
_ACCOUNTING_NAMES = ("slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb-install-db")


class Slurm:
    """The cluster.

    Args:
        options: what is different from the usual.

    Raises:
        NotUp: it did not come up; another try may.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        names = _NAMES + (_ACCOUNTING_NAMES if self.options.accounting else ())
        self._programs = {name: program(name, "slurm", SOURCE) for name in names}
        self.folder = Path(tempfile.mkdtemp(prefix="pol-slurm-"))
        self._processes: dict[str, Process] = {}
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.options.nodes)

    @property
    def env(self) -> dict[str, str]:
        """Variables by which Slurm's programs find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def stop(self) -> None:
        """End every process of it, jobs included, and remove its files."""
        if "slurmctld" in self._processes and self._answers():
            self._cancel_all()
        for name in list(self._processes):
            self._processes.pop(name).stop()
        self._kill_rest()
        if self.options.cgroup:
            _remove_groups(self.nodes)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Its parts

    def start_controller(self) -> None:
        """Start slurmctld on what it saved, and wait until it answers."""
        # It refuses to start with nothing saved, unless it is told so.
        new = [] if any((self.folder / "state").iterdir()) else ["-i"]
        controller = self._child("slurmctld", "-D", *new, "-f", self.env["SLURM_CONF"])
        controller.wait_for(self._answers, "slurmctld", UP_S)

    def stop_controller(self) -> None:
        """End slurmctld in peace: it saves what it knows."""
        self._processes.pop("slurmctld").end()

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node, and wait until the controller uses it."""
        node = self._start_slurmd(name)
        node.wait_for(lambda: self.node_state(name) in _IN_USE, name, UP_S)

    def stop_node(self, name: str) -> None:
        """Kill the slurmd of a node, as a crash would; what runs there goes on."""
        self._processes.pop(name).stop()

    def start_accounting(self) -> None:
        """Start slurmdbd, and wait until it listens."""
        self._child("slurmdbd", "-D").wait_for(lambda: listens(self._ports.accounting), "slurmdbd", UP_S)

    def stop_accounting(self) -> None:
        """Kill slurmdbd; the database stays."""
        self._processes.pop("slurmdbd").stop()

    def set_node(self, name: str, state: str) -> None:
        """Set the state of a node, as an administrator does: ``DOWN``, ``DRAIN``, ``RESUME``."""
        self.run("scontrol", "update", f"NodeName={name}", f"State={state}", "Reason=test")

    def node_state(self, name: str) -> str:
        """State of a node in the words of sinfo, without its flags."""
        shown = self.run("sinfo", "-h", "-n", name, "-p", self._first_partition, "-o", "%T")
        return shown.strip().rstrip("*~#")

    # Commands

    def run(self, name: str, *arguments: str, user: str = "", stdin: str = "") -> str:
        """Run one of Slurm's commands and return what it printed; ``user`` is who does, if not root."""
        done = self.call(name, *arguments, user=user, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"{name} {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def call(
        self, name: str, *arguments: str, user: str = "", stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """The same for a command that may fail."""
        return subprocess.run(
            [self._programs[name], *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd="/",
            env=_USUAL | self.env,
            timeout=CALL_S,
            check=False,
            user=user or None,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )

    def submit(self, script: str, *options: str, user: str = "") -> str:
        """Submit a job script; returns the id of the job."""
        return self.run("sbatch", "--parsable", *options, stdin=script, user=user).strip()

    def job(self, job_id: str) -> dict[str, str]:
        """What ``scontrol show job`` says, by its names."""
        words = self.run("scontrol", "show", "job", "-o", job_id).split()
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def queued(self) -> list[str]:
        """Ids of the jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%A").split()

    def wait_for(self, job_id: str, *states: str) -> dict[str, str]:
        """Wait until a job has one of these states; what is shown of it then."""
        what = f"job {job_id} is {' or '.join(states)}"
        wait_until(lambda: self.job(job_id)["JobState"] in states, what, 30)
        return self.job(job_id)

    def clear(self) -> None:
        """Cancel all jobs, bring the nodes back, and wait until that is done."""
        self._cancel_all()
        wait_until(self._back, "all nodes are idle")

    def resume(self) -> None:
        """Bring the nodes back, and wait until the controller uses them."""
        wait_until(self._in_use, "all nodes are back")

    def _back(self) -> bool:
        return self._in_use() and self._all_idle()

    def _in_use(self) -> bool:
        away = [name for name in self.nodes if self.node_state(name) not in (*_IN_USE, "completing")]
        for name in away:
            # Refused for one that only has to be heard of.
            self.call("scontrol", "update", f"NodeName={name}", "State=RESUME")
        return not away

    def _cancel_all(self) -> None:
        if jobs := self.queued():
            self.call("scancel", *jobs)
            wait_until(lambda: not self.queued(), "no job is left")

    # How it starts

    def _prepare(self) -> None:
        # Other users submit, too: they read the configuration and reach munge.
        self.folder.chmod(0o755)
        for name in ("run", "spool", "dev", "log", "munge"):
            (self.folder / name).mkdir()
        for name in ("state", "sql"):
            (self.folder / name).mkdir(mode=0o700)
        for name in self.nodes:
            (self.folder / "spool" / name).mkdir()
        (self.folder / "munge").chmod(0o700)
        (self.folder / "munge" / "key").write_bytes(secrets.token_bytes(64))
        (self.folder / "munge" / "key").chmod(0o600)
        if os.geteuid() != 0:
            pytest.skip("a Slurm cluster is started by root")
        for number in range(GPUS):
            # As /dev/null.
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        self._password = secrets.token_hex(16)
        self._ports = Ports(
            controller=unused_port(),
            nodes=[unused_port() for _ in self.nodes],
            accounting=unused_port(),
            sql=unused_port(),
        )
        write_files(self.folder, self.options, self._ports, self._password)

    def _start(self) -> None:
        self._start_munge()
        if self.options.accounting:
            self._start_database()
            self.start_accounting()
            self._register()
        self.start_controller()
        for name in self.nodes:
            self._start_slurmd(name)
        self._processes[self.nodes[-1]].wait_for(self._all_idle, "all nodes are idle", UP_S)

    def _start_munge(self) -> None:
        socket, private = self.folder / "run" / "munge.sock", self.folder / "munge"
        files = [f"--{name}-file={private}/{name}" for name in ("key", "pid", "log", "seed")]
        munge = self._child("munged", "--foreground", "--force", f"--socket={socket}", *files)
        munge.wait_for(socket.exists, "munged")

    def _start_database(self) -> None:
        data = f"--datadir={self.folder}/sql"
        install = [self._programs["mariadb-install-db"], "--no-defaults", data, "--user=root"]
        quick = ["--skip-test-db", "--skip-name-resolve"]
        subprocess.run([*install, *quick], check=True, capture_output=True, timeout=60)
        first = self.folder / "sql" / "first.sql"
        first.write_text(
            f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
        )
        server = self._child(
            "mariadbd",
            "--no-defaults",
            data,
            "--user=root",
            "--bind-address=127.0.0.1",
            f"--port={self._ports.sql}",
            f"--socket={self.folder}/sql/sql.sock",
            f"--pid-file={self.folder}/sql/pid",
            f"--init-file={first}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
        )
        server.wait_for(lambda: listens(self._ports.sql), "mariadbd", 30)

    def _register(self) -> None:
        """An account that root may charge, and one that is there and that nobody may."""
        self.run("sacctmgr", "-i", "add", "cluster", "tests")
        for account in ("project", "others"):
            self.run("sacctmgr", "-i", "add", "account", account, "cluster=tests")
        self.add_user("root")

    def add_user(self, user: str, account: str = "project") -> None:
        """Let a user charge an account."""
        self.run("sacctmgr", "-i", "add", "user", user, f"account={account}", "cluster=tests")

    def _start_slurmd(self, name: str) -> Process:
        return self._child("slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"), key=name)

    def _child(self, name: str, *arguments: str, key: str = "") -> Process:
        # Long-lived ones must not hold a folder that a test removes, nor see what a test sets.
        process = Process(
            [self._programs[name], *arguments], self.folder / "log" / f"{key or name}.log", self.env
        )
        self._processes[key or name] = process
        return process

    def _answers(self) -> bool:
        return self.call("scontrol", "ping").returncode == 0

    def _all_idle(self) -> bool:
        shown = self.call("sinfo", "-h", "-p", self._first_partition, "-t", "idle", "-o", "%D").stdout
        return shown.strip() == str(len(self.nodes))

    @property
    def _first_partition(self) -> str:
        return self.options.partitions[0].split()[0].partition("=")[2]

    def _kill_rest(self) -> None:
        """Its step daemons and what they run: the first carry its folder in their environment."""
        mark = f"SLURM_CONF={self.folder}/".encode()
        deadline = time.monotonic() + ENDS_S
        while pids := [pid for pid in _pids() if mark in _environ(pid)]:
            for pid in {*pids, *(child for each in pids for child in below(each))}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise AssertionError(f"processes of the cluster do not end: {pids}")
            time.sleep(0.01)


def _remove_groups(nodes: Iterable[str]) -> None:
    for node in nodes:
        for group in Path("/sys/fs/cgroup").glob(f"*/slurm_{node}"):
            for folder, _, _ in os.walk(group, topdown=False):
                # A process that was killed a moment ago may still be in it.
                wait_until(partial(_removed, folder), f"{folder} is gone")


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A cluster without accounting. A test that leaves jobs or nodes behind takes them away by ``clear``."""
    cluster = started(Slurm)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def slurm_with_accounting() -> Iterator[Slurm]:
    """One with slurmdbd, where accounts are enforced: root may charge ``project``, and not ``others``."""
    cluster = started(lambda: Slurm(Options(accounting=True)))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def slurm_with_cgroup() -> Iterator[Slurm]:
    """One that holds jobs to their memory; its nodes have names of their own."""
    names = [f"{secrets.token_hex(3)}n{number}" for number in (1, 2, 3)]
    cluster = started(lambda: Slurm(Options(cgroup=True, nodes=[f"c{name}" for name in names])))
    yield cluster
    cluster.stop()
