"""A gear's user on a real host: found by name and by number, owner of what the gear writes, and nobody's else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

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


@pytest.fixture
def alice(host: Shell) -> Iterator[str]:
    """A user of the host with a folder of its own; her uid and gid."""
    host.sh("useradd --system --no-create-home alice; rm -rf /srv/alice")
    host.sh("install -d -o alice -g alice -m 700 /srv/alice")
    host.sh("echo hers > /srv/alice/file; chown alice: /srv/alice/file; chmod 600 /srv/alice/file")
    yield host.sh("echo $(id -u alice):$(id -g alice)").stdout.strip()
    host.sh("rm -rf /srv/alice; userdel alice", check=False)


def facts(host: Shell, name: str) -> dict[str, str]:
    return {fact["Label"]: fact["Text"] for fact in host.status(name)["Facts"]}


@BOTH
def test_a_user_of_the_host_is_shared(host: Shell, alice: str) -> None:
    """Her files are the gear's as far as they are hers, and nothing else of the host is."""
    host.gear("secret", "create", "word", stdin="plum")
    user = "alice" if host.engine == "docker" else "alice:0"
    host.gear(
        *("install", TOOLS, "web", "--start", "-p", "none", "--engine", host.engine, "--host-user", user),
        *("-v", "/srv/alice:/hers", "-v", "/etc/shadow:/shadow:ro", "-v", "/kept", "--secret", "word:/run/word"),
    )
    try:
        host.inside("web", "sh", "-c", "cat /hers/file && echo mine > /hers/new && cat /run/word")
        assert host.sh("stat -c %u:%g /srv/alice/new").stdout.strip() == alice
        denied = host.inside("web", "cat", "/shadow", check=False)
        assert denied.returncode != 0 and "root:" not in denied.stdout
        uid = alice.partition(":")[0]
        status = host.sh("cat /proc/$(cat /run/geard/gears/ctr-web/pid)/status").stdout
        assert f"\nUid:\t{uid}\t" in status
        if host.engine == "podman":
            host.inside(
                "web", "sh", "-c", "echo x > /kept/x && chown 5 /kept/x && su -s /bin/sh nobody -c true; :"
            )
            assert host.inside("web", "stat", "-c", "%u", "/kept/x").stdout == "5\n"
            assert f"root inside is alice (uid {uid}) outside" in facts(host, "web")["Users"]
            login = facts(host, "web")["Login"]
            assert login.startswith("ctr-web (uid ") and f"uid {uid})" not in login, "a user of its own"
    finally:
        host.gear("delete", "--purge", "web")
        host.gear("secret", "remove", "word")


def test_a_user_inside_is_one_of_the_host(host: Shell, alice: str) -> None:
    host.gear(
        "install", TOOLS, "web", "--start", "-p", "none", "--host-user", "alice:33", "-v", "/srv/alice:/hers"
    )
    as_user = ["podman", "exec", "-u", "33:33", "ctr-web", "cat", "/hers/file"]
    assert host.run(as_user).stdout == "hers\n"
    assert host.inside("web", "cat", "/hers/file").returncode == 0, "root inside may act on files of its own users"
    as_other = ["podman", "exec", "-u", "34:34", "ctr-web", "cat", "/hers/file"]
    assert host.run(as_other, check=False).returncode != 0
    host.gear("update", "web", "--host-user", "-")
    assert host.run(as_user, check=False).returncode != 0, "users of its own again"


def test_a_shared_user_that_is_another_by_now(host: Shell, alice: str) -> None:
    host.gear("install", TOOLS, "web", "--start", "-p", "none", "--host-user", "alice")
    host.sh("usermod --uid 4747 alice")
    said = host.gear("restart", "web", check=False)
    assert said.returncode != 0 and "is 4747:" in said.stdout + said.stderr
    host.gear("update", "web", "--host-user", "alice")
    eventually(lambda: host.status("web")["ActiveState"] == "active")
    assert "uid 4747" in facts(host, "web")["Users"]


def test_who_cannot_be_shared(host: Shell) -> None:
    host.gear("install", TOOLS, "other", "-p", "none")
    for name, says in (("root", "is the host's root"), ("nosuch", "no user nosuch"), ("nobody", "nobody"),
                       ("ctr-other", "is the user of a gear")):  # fmt: skip
        said = host.gear("install", TOOLS, "web", "--host-user", name, check=False)
        assert said.returncode == 64 and says in said.stderr
