"""A host that is a virtual machine: a kernel of its own, unified control groups, quotas of disks, SELinux or else
AppArmor.

Slower to boot than other hosts of a lab, by an order of magnitude where the processor has to be emulated, and else
like them: on the lab's network, with the same door. Its disks are files in its directory: the root (ext4 with
quotas of users, groups and projects), and an empty one, /dev/vdb.
"""

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from lab import cgroups, kernel, machine, network
from lab.base import Base
from lab.door import DoorClosed
from lab.host import Host
from lab.kernel import Image
from lab.machine import run, write
from lab.places import CACHE, TREE

SUITE = "vm"
QEMU = "qemu-system-x86_64"
PACKAGES = "qemu-system-x86"
MEMORY = 2048
SECOND_DISK = "2G"
KVM = ("-accel", "kvm", "-cpu", "host")
TCG = ("-accel", "tcg,thread=multi,tb-size=768", "-cpu", "max")
KERNEL_ARGUMENTS = "console=ttyS0 panic=-1 loglevel=3 mitigations=off systemd.show_status=0 net.ifnames=0"
SECURITY = {"selinux": "security=selinux selinux=1 enforcing=0", "apparmor": "security=apparmor apparmor=1"}
"""a kernel has one of the two"""


def ready() -> Base:
    if not shutil.which(QEMU):
        machine.install([PACKAGES])
    return Base(SUITE, (kernel.ready().directory,))


class Machine(Host):
    patience: ClassVar[float] = 600
    service_type: ClassVar[str] = "exec"

    def leader(self) -> int | None:
        """The emulator: the machine's own PID 1 is no process outside."""
        for process in sorted(cgroups.processes(self.groups()[:1])):
            try:
                name = Path(f"/proc/{process}/comm").read_text(encoding="ascii")
            except OSError:
                continue
            if name.startswith(QEMU[:15]):
                return process
        return None

    def lay_out(self, layers: list[str]) -> None:
        (self.directory / "door").mkdir(parents=True, exist_ok=True)
        image = Image(Path(layers[0]))
        disk = self.directory / "disk.img"
        if not disk.exists():
            run(["cp", "--sparse=always", "--reflink=auto", image.disk, f"{disk}.new"])
            Path(f"{disk}.new").rename(disk)
        second = self.directory / "second.img"
        if not second.exists():
            run(["truncate", "--size", SECOND_DISK, second])
        write(self.directory / "token", secrets.token_hex(16), 0o600)
        write(
            self.directory / "smbios",
            f"io.systemd.credential:lab.token={(self.directory / 'token').read_text()}",
            0o600,
        )

    def security(self) -> str:
        """Which of the two it boots with. What it writes with AppArmor has no labels, and goes with that boot."""
        chosen = self.directory / "security"
        return chosen.read_text() if chosen.exists() else "selinux"

    def choose(self, security: str) -> None:
        """From its next boot on."""
        write(self.directory / "security", security)

    def command(self, layers: list[str]) -> list[str]:
        image = Image(Path(layers[0]))
        drive = "if=virtio,format=raw,cache=unsafe,discard=unmap"
        drive += ",snapshot=on" if self.security() == "apparmor" else ""
        port = network.tap(self.network, self.name)
        net = self.network
        said = {
            "systemd.hostname": self.name,
            "lab.number": net.number,
            "lab.address": self.address,
            "lab.address6": net.address6(self.index),
        }
        words = " ".join(f"{name}={value}" for name, value in said.items())
        return [
            "ip", "netns", "exec", net.bridge_namespace,
            "env", f"PYTHONPATH={TREE}",
            "/usr/bin/python3", "-S", "-m", "lab.relay", "outside",
            str(self.door), self.address, str(self.directory / "token"),
            QEMU,
            *(KVM if kvm_works(image) else TCG),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-m", str(MEMORY), "-smp", "2",
            "-serial", "stdio",
            "-device", "virtio-rng-pci",
            "-kernel", str(image.kernel), "-initrd", str(image.initrd),
            "-append", f"{KERNEL_ARGUMENTS} {SECURITY[self.security()]} {words}",
            "-smbios", f"type=11,path={self.directory / 'smbios'}",
            "-drive", f"file={self.directory / 'disk.img'},{drive}",
            "-drive", f"file={self.directory / 'second.img'},{drive}",
            "-netdev", f"tap,id=lab,ifname={port},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=lab,romfile=,mac=02:77:00:00:{net.number:02x}:{self.index:02x}",
        ]  # fmt: skip

    def power_off(self, seconds: float = 120) -> None:
        with suppress(DoorClosed):  # it was faster than its answer
            self.ask("systemctl", "poweroff", seconds=seconds)
        self.await_off(seconds)


def kvm_works(image: Image) -> bool:
    """Whether the processor itself can run the machine's kernel. /dev/kvm alone says little where this machine
    is a virtual one too: so it is tried, once, with a kernel that finds no root and gives up.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    known = CACHE / "vm" / "kvm"
    if known.exists():
        return known.read_text() == "yes"
    trial = [QEMU, *KVM, "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"]
    trial += ["-kernel", str(image.kernel), "-append", "panic=-1"]
    try:
        works = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, timeout=15, check=False)
        answer = "yes" if works.returncode == 0 else "no"
    except subprocess.TimeoutExpired:
        answer = "no"
    write(known, answer)
    return answer == "yes"
