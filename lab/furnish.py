"""The configuration that makes a Debian base a lab host; each entry that is not ordinary says why."""

import json
from dataclasses import dataclass
from pathlib import Path

NEIGHBOURS = tuple(f"h{number}" for number in range(1, 10))

# Units that cannot work in a namespace of a shared kernel.
MASKED_WITHOUT_KERNEL = """
systemd-remount-fs.service systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service
modprobe@.service sys-fs-fuse-connections.mount
"""
# Units that would only cost time.
MASKED = """
getty.target console-getty.service systemd-firstboot.service
dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount
systemd-networkd-wait-online.service systemd-resolved.service systemd-timesyncd.service
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
fstrim.timer e2scrub_all.timer e2scrub_reap.service
podman-auto-update.timer podman-auto-update.service podman-restart.service podman-clean-transient.service
"""
# Services that a test starts when it wants them.
DISABLED = """
docker.service docker.socket containerd.service docker-registry.service podman.service podman.socket
ssh.service ssh.socket systemd-networkd.service systemd-networkd.socket nftables.service firewalld.service
"""
ENABLED = "lab-door.service"


@dataclass(frozen=True)
class Limits:
    """The hard resource limits outside, which nothing in a host can exceed."""

    files: int
    processes: int


def files(limits: Limits) -> dict[str, str]:
    """Every file of the lab's configuration; those that begin with #! are programs."""
    service_limits = f"[Service]\nLimitNOFILE={limits.files}\nLimitNPROC={limits.processes}\nOOMScoreAdjust=0\n"
    registries = [f"{name}:5000" for name in NEIGHBOURS]
    docker = {
        "storage-driver": "overlay2",
        "insecure-registries": registries,
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": limits.files, "Soft": limits.files}},
    }
    return {
        "/etc/machine-id": "",  # each host makes its own
        "/etc/resolv.conf": "",
        "/etc/containers/containers.conf": CONTAINERS_CONF.format(files=limits.files, processes=limits.processes),
        "/etc/containers/registries.conf.d/lab.conf": "".join(
            f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n' for registry in registries
        ),
        # without the base's exclusions: packages installed later keep their man pages
        "/etc/dpkg/dpkg.cfg.d/99mmdebstrap": "force-unsafe-io\n",
        "/etc/subuid": "containers:1000000:1000000\n",
        "/etc/subgid": "containers:1000000:1000000\n",
        "/etc/docker/daemon.json": json.dumps(docker, indent=1) + "\n",
        "/etc/docker/registry/config.yml": REGISTRY_CONFIG,
        "/etc/systemd/system/docker.service.d/lab.conf": service_limits,
        "/etc/systemd/system/containerd.service.d/lab.conf": service_limits,
        "/etc/systemd/system/ssh.service.d/lab.conf": SSH_SERVICE,
        "/etc/systemd/system.conf.d/lab.conf": SYSTEM_CONF,
        "/etc/systemd/journald.conf.d/lab.conf": JOURNALD_CONF,
        "/etc/systemd/system/lab-door.service": DOOR_SERVICE,
        "/usr/local/lib/geard-lab/door.py": Path(__file__).with_name("door.py").read_text(),
        "/usr/local/sbin/lab-init": LAB_INIT,
    }


# crun refuses ulimits above the hard limit outside, and the default ones are.
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "systemd"
events_logger = "journald"
runtime = "crun"
"""

REGISTRY_CONFIG = """version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: :5000
"""

# Hosts have one base, but not one identity: keys are made when sshd first starts.
SSH_SERVICE = """[Service]
OOMScoreAdjust=0
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
"""

JOURNALD_CONF = """[Journal]
Storage=persistent
RateLimitIntervalSec=0
RateLimitBurst=0
"""

SYSTEM_CONF = """[Manager]
DefaultEnvironment=PODMAN_IGNORE_CGROUPSV1_WARNING=1
DefaultTimeoutStopSec=20s
"""

# It is there as soon as anything is, and to the very end: a host whose bus or basic.target is broken can
# still be looked at.
DOOR_SERVICE = """[Unit]
Description=Door of the lab: runs commands for `scripts/lab exec`
DefaultDependencies=no

[Service]
ExecStart=/usr/bin/python3 -I -S /usr/local/lib/geard-lab/door.py /run/geard-lab/door
Restart=always
RestartSec=100ms
KillMode=process
OOMPolicy=continue
OOMScoreAdjust=0
TasksMax=infinity

[Install]
WantedBy=sysinit.target
"""

# nspawn mounts cgroup v1 controllers read-only, and systemd only uses (for MemoryMax=, TasksMax=, CPUQuota=)
# those it can write to when it starts: remounted by a unit, limits are accepted and silently do nothing.
LAB_INIT = """#!/bin/sh
for controller in /sys/fs/cgroup/*/; do
    mountpoint -q "$controller" && mount -o remount,rw,bind "$controller"
done
exec /usr/lib/systemd/systemd "$@"
"""
