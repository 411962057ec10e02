"""What comes back after a reboot, a power cut, with a disk that is late or another machine's, without /etc.

`GEARD_BOOT_GEARS` says with how many gears the first test is done; docs/RELIABILITY.md has the figures for 200.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from lab.labs import Lab
from tests.lab.conftest import Shell, eventually

from lab import door

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"
MANY = int(os.environ.get("GEARD_BOOT_GEARS", "30"))
PATIENCE = 60.0 + 3 * MANY
LINKS = "/etc/systemd/system"
AGENT = "geard.socket geard-loopback.socket geard-loopback6.socket geard.service"

MOUNT = """[Unit]
After=slow-disk.service
[Mount]
What=/disk
Where=/var/lib/containers
Type=none
Options=bind
[Install]
WantedBy=multi-user.target
"""
SLOW_DISK = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/usr/bin/sleep 4
[Install]
WantedBy=var-lib-containers.mount
"""
DEAF_REGISTRY = """[Service]
ExecStart=/usr/bin/python3 -c "import socket, time; s = socket.create_server(('', 5999)); time.sleep(1e6)"
[Install]
WantedBy=multi-user.target
"""


def install(host: Shell, names: list[str], *options: str) -> None:
    words = " ".join(["gear", "install", APP, "{}", "--start", *options])
    host.run(["xargs", "-P4", "-I{}", *words.split()], stdin="\n".join(names) + "\n", seconds=PATIENCE)


def running(host: Shell) -> set[str]:
    """The gears whose containers run, as podman says."""
    return set(host.run(["podman", "ps", "--format", "{{.Names}}"]).stdout.split())


def reboot(host: Shell) -> float:
    """In good order, with patience; the seconds that the shutdown took. Back as soon as commands can be run."""
    machine = host.lab.host(host.name)
    began = time.monotonic()
    with host.lab.lock():
        machine.power_off(PATIENCE)
    took = time.monotonic() - began
    power_on(host)
    return took


def power_on(host: Shell) -> None:
    """Begin to boot; unlike `scripts/lab up` it does not wait for the end of that, which one gear may hold up."""
    start = "import sys; from lab.labs import Lab; lab = Lab(sys.argv[1]); lab.start(lab.host(sys.argv[2]), None)"
    subprocess.run([sys.executable, "-c", start, host.lab.name, host.name], check=True)
    eventually(lambda: answers(host), 30)


def answers(host: Shell) -> bool:
    try:
        return host.run(["true"], check=False, seconds=5).returncode == 0
    except (door.DoorClosed, TimeoutError):
        return False


def disk_of(host: Shell) -> Path:
    """/var/lib/containers of a host, as the machine outside has it."""
    return host.lab.host(host.name).directory / "containers"


def files_of(host: Shell) -> Path:
    """The files of a host that is down, as far as they are not those of the base."""
    return host.lab.host(host.name).directory / "upper"


def test_many_come_back_after_a_reboot_and_some_that_hang_hold_up_nobody(host: Shell) -> None:
    host.run(["tee", f"{LINKS}/deaf-registry.service"], stdin=DEAF_REGISTRY)
    host.sh("systemctl enable --now deaf-registry")
    stuck = [f"a-stuck-{number}" for number in range(6)]  # the first to be started, more than are at a time
    for name in stuck:
        host.gear("install", f"h1:5999/never/{name}", name, "--start", "--no-wait")
    names = [f"many-{number}" for number in range(MANY)]
    install(host, names, "-p", "8080:0")
    ports = [host.port(name) for name in (names[0], names[-1])]
    for name, depth in (("asleep", "stop"), ("frozen", "freeze")):
        install(host, [name], "-p", "8080:0")
        host.gear("idle", "--depth", depth, name)
    sleepers = [host.port("asleep"), host.port("frozen")]
    expected = {f"ctr-{name}" for name in names}
    shutdown = reboot(host)
    began = time.monotonic()
    eventually(lambda: host.run(["systemctl", "is-active", "multi-user.target"], check=False).returncode == 0, 30)
    multi_user = time.monotonic() - began
    eventually(lambda: running(host) >= expected, PATIENCE)
    print(f"{MANY} gears: shutdown {shutdown:.1f} s, multi-user {multi_user:.1f} s", end=", ")
    print(f"all run after {time.monotonic() - began:.1f} s")
    assert [names[0] in host.page(ports[0]), names[-1] in host.page(ports[1])] == [True, True]
    restarts = host.sh("systemctl show -P NRestarts 'ctr-many-*.service' | sort -u | xargs").stdout
    assert restarts == "0\n", "each came up at its first try"
    boot = host.run(["systemctl", "is-active", "geard-boot"], check=False).stdout
    assert boot in ("activating\n", "failed\n"), "it waits for those that hang, or has told of one by now"
    assert {host.status(name)["ActiveState"] for name in stuck} == {"activating"}, "they ask their registry still"
    last_words = host.sh("journalctl -q -b -1 -u 'ctr-many-*' | grep -c 'Failed with result'", check=False).stdout
    assert last_words == "0\n", "all ended well"
    assert [host.status(name)["SubState"] for name in ("asleep", "frozen")] == ["stopped", "stopped"]
    host.sh(f"systemctl stop {AGENT}")
    for name, port in zip(("asleep", "frozen"), sleepers, strict=True):
        first = host.run(["curl", "-sS", "--max-time", "80", f"http://127.0.0.1:{port}/"]).stdout
        assert name in first, "woken as before, and without an agent"
    assert len(host.run(["podman", "ps", "-aq"]).stdout.split()) == MANY + 2, "nothing of the time before is left"
    host.sh(f"systemctl start {AGENT.removesuffix('geard.service')}")
    host.sh(f"systemctl disable --now deaf-registry; rm {LINKS}/deaf-registry.service")


def test_a_power_cut_while_many_start(host: Shell) -> None:
    names = [f"cut-{number}" for number in range(12)]
    install(host, names)
    host.run(["systemctl", "restart", "--no-block", *(f"ctr-{name}.service" for name in names)])
    time.sleep(0.7)  # in the middle of it: some are being stopped, some started
    host.lab_does("kill", "h1")
    power_on(host)
    host.run(["systemctl", "start", "geard"])  # while the boot is at it
    eventually(lambda: running(host) == {f"ctr-{name}" for name in names}, PATIENCE)
    assert len(host.run(["podman", "ps", "-aq"]).stdout.split()) == 12
    eventually(
        lambda: host.run(["systemctl", "is-active", "container-active.target"], check=False).returncode == 0
    )
    assert host.sh("systemctl show -P NRestarts 'ctr-cut-*.service' | sort -u | xargs").stdout == "0\n"


@pytest.fixture
def apart(host: Shell) -> Generator[Shell]:
    """A host whose /var/lib/containers is a disk of its own, mounted some seconds after all else."""
    host.gear("install", APP, "web", "--start", "-p", "8080:4321", "--slice", "container-large")
    host.gear("install", TOOLS, "off")
    host.run(["tee", f"{LINKS}/var-lib-containers.mount"], stdin=MOUNT)
    host.run(["tee", f"{LINKS}/slow-disk.service"], stdin=SLOW_DISK)
    host.sh("systemctl enable var-lib-containers.mount slow-disk.service; mkdir /disk")
    yield host
    host.lab_does("kill", "h1")
    (files_of(host) / "disk").rmdir()
    for link in (files_of(host) / "etc/systemd/system").glob("**/*"):
        if link.name in ("var-lib-containers.mount", "slow-disk.service"):
            link.unlink()
    host.lab_does("up", "1")


def test_the_disk_is_mounted_late_and_once_not_at_all(apart: Shell) -> None:
    reboot(apart)
    assert apart.run(["mountpoint", "/var/lib/containers"], check=False).returncode != 0, "the disk is late"
    eventually(lambda: apart.run(["systemctl", "is-active", "ctr-web"], check=False).returncode == 0, 60)
    assert running(apart) == {"ctr-web"}
    assert "web" in apart.page(4321)
    assert apart.run(["systemctl", "show", "-P", "LoadState", "container-large.slice"]).stdout == "loaded\n"
    assert apart.status("off")["ActiveState"] == "inactive"

    # The disk is not there, and comes hours later, by hand.
    apart.sh("systemctl disable var-lib-containers.mount")
    reboot(apart)
    eventually(lambda: apart.run(["systemctl", "is-active", "multi-user.target"], check=False).returncode == 0, 30)
    apart.sh(f"rm {LINKS}/var-lib-containers.mount; systemctl daemon-reload")
    apart.run(["mount", "--bind", "/disk", "/var/lib/containers"])
    told = apart.gear("setup", "--recover").stdout
    assert "gear  web: runs" in told and "gear  off: stays stopped" in told
    assert "web" in apart.page(4321)


@pytest.fixture
def moved(host: Shell, lab: Lab) -> Generator[Shell]:
    """The other host, to which the disk of h1 has moved, after h1 lost its power."""
    host.lab_does("up", "2")
    other = Shell(lab, "h2")
    host.gear("install", APP, "web", "--start", "-p", "8080:4321")
    host.gear("install", APP, "web", "--start", "-p", "8080:4321", "--memory", "100m")
    host.gear("install", TOOLS, "keeps", "--start", "-v", "/srv/data", "--", "sh", "-c", "sleep 1000")
    host.gear("exec", "keeps", "--", "sh", "-c", "echo treasure > /srv/data/chest")
    host.gear("install", TOOLS, "off", "--start", "--", "sleep", "1000")
    host.gear("stop", "off")
    host.run(["mkdir", "-p", "/opt/lent"])
    host.gear("install", TOOLS, "needy", "--start", "-p", "8080:4400", "-v", "/opt/lent:/srv", "--",
        "sleep", "1000")  # fmt: skip
    other.run(["systemctl", "disable", "geard-boot"])  # as if the disk came while the machine runs
    _swap(host, other)
    host.lab_does("up", "2")
    yield other
    other.run(["systemctl", "enable", "geard-boot"])
    names = other.gear("list", "-a", "-q").stdout.split()
    other.gear("delete", "--purge", *names)
    _swap(host, other)
    host.lab_does("up", "2")
    host.gear("setup", "--recover")
    other.gear("setup", "--recover")
    host.lab_does("kill", "h2")


def _swap(host: Shell, other: Shell) -> None:
    for shell in (host, other):
        shell.lab_does("kill", shell.name)
    aside = disk_of(host).with_name("aside")
    disk_of(host).rename(aside)
    disk_of(other).rename(disk_of(host))
    aside.rename(disk_of(other))


def test_the_disk_is_in_another_machine(moved: Shell) -> None:
    # This machine cannot have the disk's network, has a port in use, and lacks a folder.
    network = moved.sh("sed -n 's/^ipv4 //p' /var/lib/containers/network").stdout.removesuffix(".0.0/16\n")
    moved.sh(f"ip link add taken type bridge; ip address add {network}.9.1/24 dev taken; ip link set taken up")
    moved.sh("systemd-run -q --unit=squatter python3 -m http.server 4400; rm -rf /opt/lent")
    before = moved.sh(f"ls -R {LINKS}; cat /var/lib/containers/network").stdout
    planned = moved.gear("setup", "--recover", "--dry-run", check=False)
    assert planned.returncode == 1, "there are troubles"
    assert "gear  web: starts; made known to systemd; address 10." in planned.stdout
    assert f"in place of {network}." in planned.stdout
    assert "gear  off: stays stopped" in planned.stdout
    assert "port 4400/tcp is in use by another program" in planned.stdout
    assert "/opt/lent, which it mounts, is not on this machine" in planned.stdout
    assert moved.sh(f"ls -R {LINKS}; cat /var/lib/containers/network").stdout == before, "nothing was done"

    done = moved.gear("setup", "--recover", check=False)
    assert done.returncode == 1, "one gear cannot run"
    assert "gear  needy: does not run" in done.stdout, done.stdout
    assert "gear  web: runs" in done.stdout and "gear  keeps: runs" in done.stdout
    assert running(moved) == {"ctr-web", "ctr-keeps"}
    assert "web" in moved.page(4321) and "web" in moved.from_outside("http://h2:4321/")
    assert moved.gear("exec", "keeps", "--", "cat", "/srv/data/chest").stdout == "treasure\n"
    assert moved.status("off")["ActiveState"] == "inactive"

    pid = moved.status("web")["Pid"]
    moved.sh("systemctl stop squatter; mkdir /opt/lent")
    again = moved.gear("setup", "--recover").stdout
    assert "gear  needy: runs" in again and "gear  web: runs" in again
    assert moved.status("web")["Pid"] == pid, "what runs is left alone"
    moved.gear("rollback", "web")
    assert "web" in moved.page(4321), "earlier versions have the new address too"
    moved.sh("ip link delete taken")


def test_etc_is_lost_and_so_is_an_image(host: Shell) -> None:
    host.run(["systemctl", "start", "docker-registry"])
    name = "h1:5000/geard/lost:1"
    eventually(lambda: host.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    host.sh(f"podman create --name lost {APP} && podman commit -q lost {name} && podman rm lost")
    host.run(["podman", "push", "-q", name])
    host.run(["podman", "rmi", name])
    host.gear("install", name, "web", "--start", "-p", "8080:4321")
    host.gear("install", TOOLS, "off", "--start", "--", "sleep", "1000")
    host.gear("stop", "off")
    host.lab_does("kill", "h1")
    for path in (files_of(host) / "etc/systemd/system").glob("c*"):
        if path.name.startswith(("ctr-", "container")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (files_of(host) / "etc/containers/networks/geard.json").unlink()
    host.lab_does("up", "1")
    host.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: host.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    host.run(["podman", "rmi", "--force", name])
    told = host.gear("setup", "--recover").stdout
    assert "gear  web: runs" in told and "gear  off: stays stopped" in told
    assert "web" in host.page(4321)
    assert host.run(["systemctl", "is-active", "ctr-off"], check=False).stdout == "inactive\n"
    host.gear("delete", "web")
    host.run(["systemctl", "stop", "docker-registry"])
