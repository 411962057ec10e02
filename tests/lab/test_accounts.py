"""A gear's user on a real host: found by name and by number, owner of what the gear writes, and nobody's else."""

from __future__ import annotations

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
LONG = "A.name-that-is_too-long-for-a-login"


def user(host: Shell, login: str) -> list[str]:
    return host.run(["getent", "passwd", login], check=False).stdout.strip().split(":")


def login(host: Shell, name: str) -> str:
    facts = {fact["Label"]: fact["Text"] for fact in host.status(name)["Facts"]}
    return str(facts["Login"].partition(" ")[0])


def test_a_user_per_gear(host: Shell) -> None:
    host.gear("install", TOOLS, "web", "--start", "-p", "none")
    host.gear("install", TOOLS, LONG, "-p", "none")
    host.gear("install", TOOLS, "all", "--simple", "-p", "none")
    name, _, uid, gid, about, home, shell = user(host, "ctr-web")
    assert (name, gid, about, home) == ("ctr-web", uid, "gear web", "/")
    assert shell == "/usr/lib/geard/gear-join"
    assert user(host, uid)[0] == "ctr-web"
    assert host.run(["getent", "group", "ctr-web"]).stdout == f"ctr-web:x:{gid}:\n"
    # root inside is this user outside
    host.inside("web", "sh", "-c", "sleep 4343 & echo")
    assert host.run(["ps", "-C", "sleep", "-o", "user:32="]).stdout.split() == ["ctr-web"] * 2
    assert user(host, login(host, LONG))[4] == f"gear {LONG}"
    assert login(host, "all") == "none" and user(host, "ctr-all") == [""]
    assert "ctr-" not in host.run(["cat", "/etc/passwd"]).stdout
    host.gear("delete", "web", LONG)
    assert user(host, "ctr-web") == [""]
    assert host.sh("ls /run/userdb").stdout == ""


def test_without_systemds_daemon_and_after_it_was_lost(host: Shell) -> None:
    """nss-systemd reads the records by itself; the boot's service writes them again."""
    host.gear("install", TOOLS, "web", "-p", "none")
    before = user(host, "ctr-web")
    host.sh("systemctl stop systemd-userdbd.socket systemd-userdbd.service 2>/dev/null", check=False)
    try:
        assert user(host, "ctr-web") == before
        host.sh("rm -r /run/userdb")
        assert user(host, "ctr-web") == [""]
        host.run(["systemctl", "restart", "geard-boot.service"])
        assert user(host, "ctr-web") == before
    finally:
        host.sh("systemctl start systemd-userdbd.socket 2>/dev/null", check=False)


def test_where_nss_systemd_is_not_asked(host: Shell) -> None:
    """`useradd` makes them; `gear setup` makes records be read again, and then those of /etc/passwd go."""
    host.sh("cp /etc/nsswitch.conf /root/; sed -i 's/ systemd//' /etc/nsswitch.conf; /usr/lib/geard/gear-accounts")
    try:
        host.gear("install", TOOLS, "Web.1", "-p", "none")
        found = user(host, "ctr-Web.1")
        assert found[2] in host.run(["grep", "^ctr-Web.1:", "/etc/passwd"]).stdout.split(":")
        host.gear("delete", "Web.1")
        assert host.run(["grep", "^ctr-", "/etc/passwd"], check=False).stdout == ""
        host.gear("install", TOOLS, "Web.1", "-p", "none")
        assert "systemd in /etc/nsswitch.conf" in host.gear("setup").stdout
        assert host.run(["grep", "^ctr-", "/etc/passwd"], check=False).stdout == ""
        eventually(lambda: user(host, "ctr-Web.1")[0] == "ctr-Web.1")
    finally:
        host.sh("cat /root/nsswitch.conf >/etc/nsswitch.conf; /usr/lib/geard/gear-accounts")
