"""SELinux enforced: every gear has a pair of categories, and root in one is kept from what another's volume has.

All of geard works meanwhile; what of Debian's policy is not held for it, lab/kernel.py has.
"""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

TOOLS = "geard/test-tools"
DATA = "/var/lib/containers/data/vi/victim/data"
OWN = "cat /proc/self/attr/current"
WRITES = "echo plum >/data/file; chmod 666 /data/file; exec sleep 1000000"
TAKES = "cat /theirs/{0}; echo x >>/theirs/{0}"
KEY = "/root/selinux-key"
LOGIN = (
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-i", KEY),
)


@pytest.fixture
def enforced(host: Shell) -> Generator[Shell]:
    host.sh(f"rm -f {KEY}*; ssh-keygen -q -t ed25519 -N '' -f {KEY}; systemctl restart ssh.service; setenforce 1")
    yield host
    host.sh("setenforce 0; systemctl stop ssh.service")


def level(host: Shell, name: str) -> str:
    unit = f"/var/lib/containers/units/{name[:2]}/ctr-{name}.run"
    return host.sh(f"sed -n 's/^GEAR_LEVEL=\"\\(.*\\)\"/\\1/p' {unit}").stdout.strip()


def denied(host: Shell, file: str) -> bool:
    done = host.inside("thief", "sh", "-c", TAKES.format(file), check=False)
    return done.returncode != 0 and done.stdout == "" and done.stderr.count("Permission denied") == 2


def install_victim(host: Shell) -> None:
    """A file that everybody may read and write: the uid and the mode keep nobody from it."""
    options = ("-p", "none", "-v", "/data", "--stop-timeout", "1")
    host.gear("install", TOOLS, "victim", "--start", *options, "--", "sh", "-c", WRITES)
    eventually(lambda: host.sh(f"cat {DATA}/file", check=False).stdout == "plum\n")


def test_one_gear_is_kept_from_anothers_files(enforced: Shell) -> None:
    """The thief is the host's root (--simple), and the victim's folder was mounted into it by mistake."""
    host = enforced
    install_victim(host)
    options = ("--simple", "--stop-timeout", "1", "-p", "none", "-v", f"{DATA}:/theirs")
    host.gear("install", TOOLS, "thief", "--start", *options)
    assert len(set(host.run(["stat", "-c", "%C", "/dev/null", "/dev/geard-null"]).stdout.split())) == 1
    own, other = (level(host, name) for name in ("victim", "thief"))
    assert own != other and all(re.fullmatch(r"s0:c\d+,c\d+", each) for each in (own, other))
    assert denied(host, "file")
    assert host.inside("thief", "sh", "-c", OWN).stdout.rstrip("\0").endswith(f":container_t:{other}")

    # what comes into it by another way, and who does
    host.sh("echo pear >/root/pear; chmod 666 /root/pear")
    host.gear("cp", "/root/pear", "victim:/data/pear")
    labels = host.run(["stat", "-c", "%C", DATA, f"{DATA}/file", f"{DATA}/pear"]).stdout.split()
    assert labels == [f"system_u:object_r:container_file_t:{own}"] * 3
    assert denied(host, "pear")
    entered = host.gear("exec", "victim", "--", "sh", "-c", f"{OWN}; cat /data/pear").stdout
    assert entered.replace("\0", "").strip() == f"system_u:system_r:container_t:{own}pear"

    # it is said, and it was the kernel's doing alone
    protections = {fact["Label"]: fact["Text"] for fact in host.status("thief")["Facts"]}["Protections"]
    assert f"SELinux container_t:{other} (enforcing)" in protections
    assert "SELinux, enforcing" in host.gear("doctor", check=False).stdout
    took = host.sh("setenforce 0; podman exec ctr-thief cat /theirs/file /theirs/pear; setenforce 1").stdout
    assert took == "plum\npear\n"

    # a gear made anew around its volume keeps the pair
    host.gear("delete", "victim")
    host.sh(f"rm {DATA}/file")
    install_victim(host)
    assert level(host, "victim") == own
    assert host.inside("victim", "sh", "-c", f"{OWN} | tr -d '\\0'; cat /data/pear").stdout.endswith(
        f":{own}pear\n"
    )
    assert denied(host, "pear")

    # a login is in it as any other of its programs, the lent one for sftp too
    host.gear("keys", "victim", "--key-file", f"{KEY}.pub")
    login = "ctr-victim@127.0.0.1"
    assert host.run(["ssh", *LOGIN, login, OWN]).stdout.rstrip("\0") == f"system_u:system_r:container_t:{own}"
    moves = "put /root/pear /data/fig\nget /data/fig /root/fig\nget /data/file /root/plum\n"
    host.run(["sftp", "-b", "-", *LOGIN, login], stdin=moves)
    assert host.sh(f"stat -c %C {DATA}/fig; cat /root/fig /root/plum").stdout.split() == [
        f"system_u:object_r:container_file_t:{own}", "pear", "plum"
    ]  # fmt: skip
    assert host.sh("gear cp victim:/data/fig - | tar -xO").stdout == "pear\n"

    # and so it is after a restart
    host.gear("restart", "victim")
    assert host.gear("exec", "victim", "--", "sh", "-c", OWN).stdout.rstrip("\0").endswith(f":container_t:{own}")
    assert denied(host, "fig")
