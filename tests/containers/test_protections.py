"""What is said to protect a gear, by what the kernel says of its first process."""

from __future__ import annotations

from pathlib import Path

import pytest

from geard.containers import protections

STATUS = "Name:\tsleep\nCapBnd:\t00000000800405fb\nNoNewPrivs:\t{}\nSeccomp:\t{}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path, "proc/sys/kernel/cap_last_cap", "40\n")
    make(tmp_path, "proc/42/status", STATUS.format(1, 2))
    make(tmp_path, "proc/42/uid_map", "         0    2065536      65536\n")
    for pid, other in (("self", 1), ("42", 2)):
        (tmp_path / f"proc/{pid}/ns").mkdir(parents=True, exist_ok=True)
        for kind in ("user", "net", "pid", "ipc", "mnt", "uts"):
            (tmp_path / f"proc/{pid}/ns/{kind}").symlink_to(f"{kind}:[{other}]")
    return tmp_path


def make(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def share(root: Path, kind: str) -> None:
    (root / f"proc/42/ns/{kind}").unlink()
    (root / f"proc/42/ns/{kind}").symlink_to(f"{kind}:[1]")


def test_by_default(root: Path) -> None:
    assert protections.in_force(root, 42) == (
        "user namespace (its 0 is uid 2065536); no new privileges; seccomp filter; 11 of 41 capabilities;"
        " network, processes, IPC, files, host name of its own"
    )


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        (
            "overlay overlay rw,lowerdir=/s/a/mapped/0/l/B:/s/a/mapped/0/l/C,upperdir=/s/a/diff",
            "",
        ),
        ("overlay overlay rw,lowerdir=/s/l/B,upperdir=/s/a/diff", ", its image copied for them"),
        ("ext4 /dev/vda rw", ", its image copied for them"),
    ],
)
def test_an_image_that_had_to_be_copied_for_its_users(root: Path, mount: str, said: str) -> None:
    make(root, "proc/42/mountinfo", f"1 2 0:3 / / rw - {mount}\n4 1 0:5 /a /data rw - ext4 /dev/vda rw\n")
    assert protections.in_force(root, 42).startswith(f"user namespace (its 0 is uid 2065536{said}); ")


def test_what_is_not_there_is_said(root: Path) -> None:
    make(root, "proc/42/status", STATUS.format(0, 0))
    make(root, "sys/module/apparmor/parameters/enabled", "Y\n")
    make(root, "proc/42/attr/current", "unconfined\n")
    for kind in ("user", "net", "ipc"):
        share(root, kind)
    assert protections.in_force(root, 42) == (
        "no users of its own; new privileges by set-uid programs; no seccomp filter; 11 of 41 capabilities;"
        " no AppArmor profile; processes, files, host name of its own"
    )


def test_mandatory_access(root: Path) -> None:
    make(root, "sys/fs/selinux/enforce", "1")
    make(root, "proc/42/attr/current", "system_u:system_r:container_t:s0:c3,c7\0")
    assert "; SELinux container_t:s0:c3,c7 (enforcing); network" in protections.in_force(root, 42)
    make(root, "sys/module/apparmor/parameters/enabled", "Y\n")
    make(root, "proc/42/attr/apparmor/current", "containers-default-0.57.4 (enforce)\n")
    assert "; AppArmor containers-default-0.57.4 (enforce); network" in protections.in_force(root, 42)


def test_one_that_is_gone(root: Path) -> None:
    assert protections.in_force(root, 43) == ""
