"""One host: a systemd-nspawn machine on an overlay of the base.

Its directory holds everything it has until it is removed: `upper` (what it wrote), the directories of
container stores (bound in, for an overlay cannot lie on an overlay), `host.json` (what it is) and
`console.log`. Whether it runs is never written down: it is asked of the kernel. So a host in any state, left
there by any kill, can be started or removed.

How it is started depends on the machine outside. With systemd as PID 1, it is a transient service with a
delegated control group. Without, it is a process of ours in control groups made here; with v1 hierarchies,
systemd inside is told so.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, ClassVar

from lab import cgroups, door, machine, network
from lab.base import Base, overlay
from lab.machine import LabError, attempt, run, write
from lab.network import Network
from lab.places import door_of

STORES = ("containers", "docker", "containerd")
DROPPED_CAPABILITIES = "CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO"
SYSTEM_CALLS = "add_key keyctl bpf @mount @privileged"
V1_ARGUMENTS = ("systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
QUIET_ARGUMENTS = ("systemd.show_status=0", "quiet")
NSPAWN = Path("/run/systemd/nspawn")
NSPAWN_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
POWER_OFF = signal.SIGRTMIN + 4
"""To systemd as PID 1: start poweroff.target."""


@dataclass(frozen=True)
class Record:
    """What has to be known of a host to start it again, or to remove it."""

    suite: str
    layers: list[str]
    groups: list[str]


@dataclass(frozen=True)
class Host:
    name: str
    index: int
    network: Network
    directory: Path
    patience: ClassVar[float] = 120
    """seconds that a boot may take, and a command"""
    service_type: ClassVar[str] = "notify"

    @property
    def machine(self) -> str:
        """Its name among all machines here."""
        return f"geard-{self.network.lab}-{self.name}"

    @property
    def unit(self) -> str:
        return f"{self.machine}.service"

    @property
    def root(self) -> Path:
        """Its disk, as it sees it, while it is mounted."""
        return self.directory / "root"

    @property
    def door(self) -> Path:
        return door_of(self.directory)

    @property
    def namespace(self) -> str:
        return self.network.namespace(self.name)

    @property
    def address(self) -> str:
        return self.network.address(self.index)

    def record(self) -> Record | None:
        path = self.directory / "host.json"
        return Record(**json.loads(path.read_text())) if path.exists() else None

    def groups(self) -> list[Path]:
        record = self.record()
        return [Path(group) for group in record.groups] if record else []

    def leader(self) -> int | None:
        """Its PID 1, as seen from outside; None when it is down."""
        return cgroups.leader(self.groups())

    # what it does

    def ask(self, *command: str, seconds: float = 0, stdin: BinaryIO | None = None) -> tuple[int, str]:
        """Run a command inside: how it ended, and all it said."""
        seconds = seconds or self.patience
        with TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
            descriptors = ((stdin or nothing).fileno(), output.fileno(), output.fileno())
            status = door.run(self.door, command, descriptors, timeout=seconds)
            output.seek(0)
            return status, output.read().decode(errors="replace")

    def run(self, *command: str, stdin: BinaryIO | None = None) -> str:
        """Run a command inside that must succeed; its output."""
        status, said = self.ask(*command, stdin=stdin)
        if status:
            raise LabError(f"{self.name}: `{' '.join(command)}` ended with {status}: {said.strip()[-2000:]}")
        return said

    def state(self) -> str:
        """One of down, starting, running, degraded, stopping."""
        if self.leader() is None:
            return "down"
        try:
            _, said = self.ask("systemctl", "is-system-running", seconds=self.patience / 10)
        except (door.DoorClosed, TimeoutError):
            return "starting"
        word = said.strip()
        return word if word in ("running", "degraded", "stopping") else "starting"

    def log(self, name: str) -> Path:
        return self.directory / name

    # starting

    def start(self, base: Base) -> None:
        """Start booting, from whatever state it is in. A host that exists keeps the base it stands on."""
        self.clear()
        record = self.record()
        groups = self.new_groups()
        known = record or Record(base.suite, [str(layer) for layer in base.layers], [])
        record = Record(known.suite, known.layers, [str(group) for group in groups])
        write(self.directory / "host.json", json.dumps(asdict(record), indent=1) + "\n")

        self.lay_out(record.layers)
        command = self.command(record.layers)
        if machine.has_systemd():
            self.start_as_service(command)
        else:
            self.start_as_child(command, groups)

    def lay_out(self, layers: list[str]) -> None:
        """Have its disk there."""
        overlay(
            tuple(Path(layer) for layer in layers),
            self.directory / "upper",
            self.directory / "work",
            self.root,
        )
        for store in (*STORES, "door"):
            (self.directory / store).mkdir(exist_ok=True)
        write(self.root / "etc/hostname", self.name + "\n")
        hosts = {f"h{number}": number for number in range(1, 10)} | {self.name: self.index}
        write(self.root / "etc/hosts", self.network.etc_hosts(hosts))

    def command(self, layers: list[str]) -> list[str]:
        """What runs as long as the host does."""
        return self.nspawn(network.connect(self.network, self.name, self.index))

    def new_groups(self) -> list[Path]:
        if machine.has_systemd():
            return [cgroups.of_systemd() / "machine.slice" / self.unit]
        return cgroups.directories_below_own(self.machine)

    def nspawn(self, namespace: Path) -> list[str]:
        devices = [path for path in ("/dev/fuse", "/dev/net/tun") if Path(path).exists()]
        legacy = not machine.has_unified_cgroups()
        return [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            f"--machine={self.machine}",
            f"--hostname={self.name}",
            f"--directory={self.root}",
            "--console=pipe",
            "--kill-signal=SIGRTMIN+3",
            f"--network-namespace-path={namespace}",
            "--capability=all",
            f"--drop-capability={DROPPED_CAPABILITIES}",
            f"--system-call-filter={SYSTEM_CALLS}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            *(f"--bind={device}" for device in devices),
            *(f"--bind={self.directory / store}:{self.place(store)}" for store in STORES),
            f"--bind={self.directory / 'door'}:/run/geard-lab",
            *([] if legacy else ["--boot"]),
            "--",
            *(["/usr/local/sbin/lab-init", *V1_ARGUMENTS] if legacy else []),
            *QUIET_ARGUMENTS,
        ]

    def place(self, store: str) -> str:
        """Where a store is in the host. One that has made a folder /disk finds its containers there, and mounts
        them itself, as late as it likes: a disk of their own.
        """
        apart = store == "containers" and (self.directory / "upper/disk").is_dir()
        return "/disk" if apart else f"/var/lib/{store}"

    def start_as_service(self, command: list[str]) -> None:
        """As systemd-nspawn@.service does it; a service has no ties to the caller's session."""
        console = self.log("console.log")
        console.touch()
        attempt(["systemctl", "reset-failed", self.unit])
        run([
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={self.unit}",
            f"--description=Host {self.name} of the lab {self.network.lab}",
            "--slice=machine.slice",
            f"--service-type={self.service_type}",
            "--property=Delegate=yes",
            "--property=KillMode=mixed",
            "--property=TasksMax=infinity",
            "--property=TimeoutStopSec=30s",
            "--property=SuccessExitStatus=133",
            f"--property=StandardOutput=append:{console}",
            f"--property=StandardError=append:{console}",
            *(f"--setenv={name}={value}" for name, value in NSPAWN_ENVIRONMENT.items()),
            *command,
        ])  # fmt: skip

    def start_as_child(self, command: list[str], groups: Sequence[Path]) -> None:
        cgroups.make(groups)
        with self.log("console.log").open("ab") as console:
            child = subprocess.Popen(
                [*cgroups.entering(groups), *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, **NSPAWN_ENVIRONMENT},
                cwd="/",
                start_new_session=True,
            )
        # not before it can be found where `wait` and everybody else look for it
        while child.poll() is None and child.pid not in cgroups.processes(groups[-1:]):
            time.sleep(0.002)

    def wait(self) -> str:
        """Wait until it has booted, or is down; its state then."""
        end = time.monotonic() + self.patience
        while (left := end - time.monotonic()) > 0:
            try:
                self.ask("systemctl", "is-system-running", "--wait", seconds=left)
            except (door.DoorClosed, TimeoutError):
                time.sleep(0.02)
            state = self.state()
            if state in ("running", "degraded"):
                return state
            if state == "down" and not cgroups.processes(self.groups()):
                return state
        raise LabError(f"{self.name} has not booted after {self.patience:.0f} s; see {self.log('console.log')}")

    # stopping

    def power_off(self, seconds: float = 60) -> None:
        """Shut it down as its owner would, and wait for the end of that."""
        leader = self.leader()
        if leader:
            os.kill(leader, POWER_OFF)
        self.await_off(seconds)

    def await_off(self, seconds: float) -> None:
        if not cgroups.await_empty(self.groups(), seconds):
            raise LabError(f"{self.name} does not shut down; `scripts/lab kill {self.name}` cuts its power")

    def clear(self) -> None:
        """End everything of it that runs or is mounted, at once; its disk stays."""
        groups = self.groups()
        cgroups.kill(groups)
        if machine.has_systemd():
            attempt(["systemctl", "stop", self.unit])
        cgroups.remove(groups)
        self.clear_after_nspawn()
        machine.unmount(self.directory)
        self.door.unlink(missing_ok=True)

    def clear_after_nspawn(self) -> None:
        """Remove what it leaves when it is killed."""
        if self.root.exists():
            root = self.root.stat()
            (NSPAWN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink(missing_ok=True)
        for place in ("propagate", "unix-export"):
            path = NSPAWN / place / self.machine
            if path.is_dir():
                machine.remove(path)

    def remove(self) -> None:
        """Leave nothing of it."""
        self.clear()
        network.remove_namespace(self.namespace)
        for line in run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).splitlines():
            device, _, file = line.partition(" ")
            if self.directory in Path(file.strip()).parents:
                run(["losetup", "--detach", device])
        machine.remove(self.directory)
