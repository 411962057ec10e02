"""What is found on machines made of text files."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import trustme

from geard.containers.ids import slots_of
from geard.doctor import machine
from geard.doctor.machine import GIB, MIB
from geard.doctor.requests import Finding
from geard.host.disk_quotas import mounted

Make = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def told(finding: Finding) -> tuple[str, str]:
    assert finding.state == "ok" or (finding.costs and finding.remedy), "what it costs, and what would help"
    return finding.state, finding.detail


def test_control_groups(made: Make) -> None:
    assert told(machine.control_groups(made()))[0] == "advice"
    file = "sys/fs/cgroup/cgroup.controllers"
    assert told(machine.control_groups(made(**{file: "cpuset cpu io memory pids\n"})))[0] == "ok"
    assert told(machine.control_groups(made(**{file: "cpuset cpu io pids\n"}))) == ("broken", "without memory")


def test_user_namespaces(made: Make) -> None:
    assert told(machine.user_namespaces(made())) == ("broken", "the kernel has none")
    root = made(**{"proc/self/ns/user": "", "proc/sys/user/max_user_namespaces": "0\n"})
    assert told(machine.user_namespaces(root)) == ("broken", "none may be made")
    root = made(**{"proc/sys/user/max_user_namespaces": "15000\n"})
    assert told(machine.user_namespaces(root)) == ("ok", "up to 15000")


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("alice:100000:65536", "ok"),
        ("containers:1000000:1000000", "ok"),
        ("containers:1000000:1000001", "advice"),
        ("bob:2000000000:65536", "ok"),
        ("bob:1836999999:65536", "advice"),
        ("nonsense", "ok"),
        ("a:b:c", "ok"),
        ("", "ok"),
    ],
)
def test_ids_of_gears_are_nobody_elses(made: Make, line: str, state: str) -> None:
    root = made(**{"etc/subuid": f"{line}\n"})
    assert told(machine.subordinate_ids(root, slots_of("")))[0] == state
    assert told(machine.subordinate_ids(root, slots_of("3000000-4000000")))[0] == "ok"


def test_mandatory_access(made: Make) -> None:
    assert told(machine.mandatory_access(made()))[0] == "advice"
    root = made(**{"sys/module/apparmor/parameters/enabled": "Y\n"})
    assert told(machine.mandatory_access(root)) == ("ok", "AppArmor")
    root = made(**{"sys/fs/selinux/enforce": "0"})
    assert told(machine.mandatory_access(root)) == ("ok", "SELinux, permissive; AppArmor")
    (root / "sys/module/apparmor/parameters/enabled").write_text("N\n")
    assert told(machine.mandatory_access(root)) == ("advice", "SELinux, permissive")
    (root / "sys/fs/selinux/enforce").write_text("1")
    assert told(machine.mandatory_access(root)) == ("ok", "SELinux, enforcing")


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.volumes(tmp_path / "data") == []
    for flags, state in ((os.ST_NOSUID | os.ST_NODEV, "ok"), (os.ST_NOSUID, "advice"), (0, "advice")):
        monkeypatch.setattr(os, "statvfs", Mock(return_value=Mock(f_flag=flags)))
        (found,) = machine.volumes(tmp_path)
        assert found.state == state


def test_seccomp(made: Make) -> None:
    assert told(machine.seccomp(made()))[0] == "broken"
    root = made(**{"proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno log allow\n"})
    assert told(machine.seccomp(root)) == ("ok", "filters")


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 8:2 / /var/lib/containers rw,nosuid shared:2 - xfs /dev/sdb rw,attr2,prjquota
31 22 8:3 / /var/lib/con\\040tainers rw - btrfs /dev/sdc rw
"""


def test_quota_is_of_the_file_system_that_gears_are_on(made: Make) -> None:
    root = made(**{"proc/self/mountinfo": MOUNTS})
    assert told(machine.quota(root, Path("/var/lib/containers"))) == ("ok", "xfs with project quotas")
    state, detail = told(machine.quota(root, Path("/var/lib/containersX")))
    assert (state, "ext4" in detail) == ("advice", True)
    btrfs = machine.quota(root, Path("/var/lib/con tainers/units"))
    assert told(btrfs) == ("advice", "/var/lib/con tainers/units is on btrfs, without quotas")
    assert btrfs.remedy == "btrfs quota enable /var/lib/con tainers/units"
    assert mounted("", "/")[0] == ""


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [(50 * GIB, 100 * GIB, "ok"), (4 * GIB, 100 * GIB, "advice"), (6 * GIB, 10 * GIB, "ok"),
     (GIB // 2, 10 * GIB, "advice"), (199 * MIB, 10 * GIB, "broken")],
)  # fmt: skip
def test_room_on_the_disk(free: int, total: int, state: str) -> None:
    assert told(machine.space(Path("/x"), free, total))[0] == state


def test_inodes_and_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert machine.inodes(tmp_path, 0, 0) == []
    assert [told(each)[0] for each in machine.inodes(tmp_path, 90_000, 1_000_000)] == ["advice"]
    assert [told(each)[0] for each in machine.inodes(tmp_path, 500, 1_000_000)] == ["broken"]
    assert machine.disk(tmp_path / "nowhere")[0].state == "missing"
    assert machine.disk(tmp_path)[0].what == "disk"


def test_the_journal(made: Make) -> None:
    kept, rate = machine.journal(made())
    assert (kept.state, kept.costs) == ("advice", "what gears said is gone with a reboot")
    assert rate.detail == "10000 lines in 30s of each gear; more are lost"
    root = made(
        **{
            "var/log/journal/x": "",
            "etc/systemd/journald.conf": "[Journal]\n#Storage=volatile\nRateLimitBurst=5\n",
            "usr/lib/systemd/journald.conf.d/50-a.conf": "RateLimitBurst=7\nStorage = volatile\n",
            "etc/systemd/journald.conf.d/50-a.conf": "RateLimitBurst=6\n",
        }
    )
    kept, rate = machine.journal(root)
    assert kept.state == "ok"
    assert rate.detail.startswith("6 lines")
    root = made(**{"run/systemd/journald.conf.d/60.conf": "RateLimitIntervalSec=0\nStorage=volatile\n"})
    kept, rate = machine.journal(root)
    assert (told(kept)[0], rate.detail) == ("advice", "none")


def test_the_clock() -> None:
    built = 1_800_000_000.0
    assert told(machine.clock(built + 60, built, synchronized=True))[0] == "ok"
    assert told(machine.clock(built + 60, built, synchronized=False))[0] == "advice"
    assert told(machine.clock(built - 1e6, built, synchronized=True))[0] == "broken"
    assert machine.clock_is_synchronized() in (True, False)


def test_ports(made: Make) -> None:
    root = made(**{"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n"})
    state, detail = told(machine.ports(root, range(4000, 60000)))
    assert (state, detail) == ("ok", "4000-59999; 28768 of them the kernel gives to no outgoing connection")
    assert told(machine.ports(root, range(40000, 50000)))[0] == "advice"


def test_certificates_that_expire(tmp_path: Path) -> None:
    authority, settings = trustme.CA(), tmp_path / "etc"
    settings.mkdir()
    now = dt.datetime.now(dt.UTC)
    for name, days in (("old", -1), ("soon", 10), ("fine", 300)):
        made = authority.issue_cert(
            "h1", not_after=now + dt.timedelta(days=days), not_before=now.replace(year=2000)
        )
        made.cert_chain_pems[0].write_to_path(settings / f"{name}.crt")
    keyed = authority.issue_cert("h2", not_after=now + dt.timedelta(days=5), not_before=now.replace(year=2000))
    (tmp_path / "root/var/lib/geard").mkdir(parents=True)
    keyed.private_key_and_cert_chain_pem.write_to_path(tmp_path / "root/var/lib/geard/server.pem")
    (settings / "other.pem").write_text("no certificate")
    (settings / "hosts").mkdir()
    known = authority.issue_cert("us", not_after=now + dt.timedelta(days=3), not_before=now.replace(year=2000))
    parts = [known.cert_chain_pems[0], known.private_key_pem, authority.cert_pem]
    text = "".join(part.bytes().decode() for part in parts)
    (settings / "hosts" / "h2").write_text(f'# geard: {{"Address":"192.0.2.7"}}\n{text}')
    found = machine.certificates(machine.certificate_files(tmp_path / "root", settings), now.timestamp())
    assert {each.detail.split()[0].removeprefix(f"{tmp_path}/"): told(each)[0] for each in found[:-1]} == {
        "etc/old.crt": "broken",
        "etc/soon.crt": "advice",
        "etc/hosts/h2": "advice",
        "root/var/lib/geard/server.pem": "advice",
    }
    assert (found[-1].what, told(found[-1])[0]) == ("certificates", "ok")
    remedies = {Path(each.detail.split()[0]).name: each.remedy for each in found[:-1]}
    assert remedies["h2"] == "gear host renew h2"
    assert any("old.crt expired" in each.detail for each in found)
