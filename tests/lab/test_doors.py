"""One machine manages another: by a certificate, made by one invitation; and who else may ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.labs import Lab
from tests.lab.conftest import APP, SETTINGS, Shell, eventually

from geard.identifiers import new_request_id


@pytest.fixture(scope="module")
def h2(lab: Lab, h1: Shell) -> Shell:
    h1.lab_does("up", "2")
    return Shell(lab, "h2")


@pytest.fixture(scope="module")
def managed(h1: Shell, h2: Shell) -> Iterator[Shell]:
    """h1, which listens to other machines; h2 has joined it."""
    h1.sh(f"printf '[agent]\\nlisten = [\"0.0.0.0:43273\"]\\n' > {SETTINGS}; systemctl restart geard.service")
    eventually(lambda: f"{h1.address}:43273" in h1.run(["ss", "-Hltn"]).stdout)
    h2.run(["gear", "host", "remove", "h1"], check=False)
    command = h1.gear("host", "invite", "h2", "--scope", "admin").stdout
    assert h1.address in command
    h2.sh(command)  # the very line that was printed
    yield h1
    h2.run(["gear", "host", "remove", "h1"], check=False)
    h1.gear("host", "revoke", "h2", check=False)
    h1.sh(f"rm -f {SETTINGS}; gear delete --purge afar; userdel alice 2>/dev/null; true", check=False)
    h1.sh("gear token revoke alice; systemctl restart geard.service", check=False)


def test_another_machine_manages_gears(managed: Shell, h2: Shell) -> None:
    said = h2.gear("install", APP, "h1/afar", "-p", "8080:0", "--start")
    assert "afar is running" in said.stdout
    assert managed.status("afar")["ActiveState"] == "active"
    assert json.loads(h2.gear("list", "h1", "-o", "json").stdout)[0]["Id"] == "afar"
    assert "afar" in h2.gear("status", "h1/afar").stdout
    assert h2.gear(
        "exec", "h1/afar", "--", "sh", "-c", "read x; echo $x; exit 7", stdin="hello\n", check=False
    ).stdout
    ended = h2.gear("exec", "h1/afar", "--", "sh", "-c", "exit 7", check=False)
    assert ended.returncode == 7
    big = h2.gear("exec", "h1/afar", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x").stdout
    assert len(big) == 3_000_000
    assert (
        "certificate h2, TLS from" in managed.sh("journalctl -u geard -o cat | grep 'PUT /container/afar'").stdout
    )


def test_one_session(managed: Shell, h2: Shell) -> None:
    """h2 manages h1 by a certificate, which one token made; an ordinary user of h1 is refused on loopback; what
    h2 asked is told again to the byte after the agent was killed, and not done again.
    """
    invited = managed.gear("host", "invite", "session", "--scope", "operate")
    assert "nobody answers" not in invited.stderr
    command = invited.stdout.replace("add h1", "add one")
    h2.sh(command)
    used = h2.sh(command.replace("add one", "add two"), check=False)
    assert (used.returncode, "was used already" in used.stderr) == (4, True)
    try:
        h2.gear("install", APP, "one/session", "--start")
        held = "/etc/geard/hosts/one"
        h2.sh(f"tac {held} | sed '/BEGIN CERT/q' | tac > /root/authority.pem")

        stranger = ["runuser", "-u", "nobody", "--"]
        asked = [
            "curl",
            "-s",
            "-w",
            " %{http_code}",
            "-X",
            "PUT",
            "http://localhost:43273/container/session/stopped",
        ]
        assert managed.run([*stranger, *asked]).stdout.endswith(" 403")
        told = managed.run([*stranger, "gear", "stop", "localhost/session"], check=False)
        assert (told.returncode, "nobody" in told.stderr) == (4, True)
        assert managed.status("session")["ActiveState"] == "active"

        url = f"https://{managed.address}:43273/container/session/restart?follow=true"
        ask = (
            f"curl -si --cert {held} --cacert /root/authority.pem -H 'X-Request-Id: {new_request_id()}' -X POST"
            f" '{url}' | grep -vi ^date:"
        )
        first = h2.sh(ask).stdout
        assert first.startswith("HTTP/1.1 200") and first.endswith("session is running\n")
        runs = managed.run(["systemctl", "show", "-P", "InvocationID", "ctr-session"]).stdout
        before = managed.run(["systemctl", "show", "-P", "InvocationID", "geard"]).stdout
        managed.run(["systemctl", "kill", "-s", "KILL", "geard"])
        eventually(lambda: h2.sh(ask, check=False).stdout == first)
        assert managed.run(["systemctl", "show", "-P", "InvocationID", "geard"]).stdout != before
        assert managed.run(["systemctl", "show", "-P", "InvocationID", "ctr-session"]).stdout == runs
        assert json.loads(h2.sh(ask.replace("restart?", "started?").replace("POST", "PUT").replace("-si", "-s"))
                          .stdout)["Kind"] == "Conflict"  # fmt: skip
    finally:
        h2.gear("delete", "one/session", check=False)
        h2.gear("host", "remove", "one", check=False)
    assert "session" not in managed.gear("host", "guests", "-o", "name").stdout.split()


def test_what_is_kept_is_roots_alone(managed: Shell, h2: Shell) -> None:
    assert h2.sh("stat -c '%a %U' /etc/geard/hosts/h1").stdout == "600 root\n"
    assert managed.sh("stat -c '%a' /var/lib/geard/authority.pem /var/lib/geard/server.pem").stdout == "600\n600\n"


def test_an_invitation_is_good_for_one(managed: Shell, h2: Shell) -> None:
    command = managed.gear("host", "invite", "other").stdout
    h2.sh(command.replace("add h1", "add other"))
    again = h2.sh(command.replace("add h1", "add thief"), check=False)
    assert again.returncode == 4
    assert "was used already" in again.stderr
    h2.gear("host", "remove", "other")


def test_an_ordinary_user_is_refused_on_loopback_and_may_list_with_a_token(managed: Shell) -> None:
    managed.sh("id alice >/dev/null 2>&1 || useradd -m alice")
    token = managed.gear("token", "create", "alice", "--replace").stdout.strip()

    def alice(command: str, given: str = "") -> tuple[int, str]:
        told = managed.run(["runuser", "-u", "alice", "--", "sh", "-c", command], stdin=given, check=False)
        return told.returncode, told.stdout + told.stderr

    status, told = alice("curl -sS http://localhost:43273/containers")
    assert "may not use this agent over TCP" in told
    assert alice("gear list")[0] == 4
    status, told = alice("IFS= read -r GEAR_TOKEN; export GEAR_TOKEN; gear list -a -o name", token + "\n")
    assert (status, "afar" in told.split()) == (0, True)
    status, told = alice("IFS= read -r GEAR_TOKEN; export GEAR_TOKEN; gear stop afar", token + "\n")
    assert status == 4
    assert "it takes scope operate" in told
    managed.gear("token", "revoke", "alice")
    status, told = alice("IFS= read -r GEAR_TOKEN; export GEAR_TOKEN; gear list", token + "\n")
    assert status == 4
    assert "was revoked" in told


def test_who_operates_may_not_mount_the_host(managed: Shell) -> None:
    """Group `geard` may, which is why it is root; a token of the scope operate may not."""
    token = managed.gear("token", "create", "ops", "--scope", "operate", "--replace").stdout.strip()
    body = {"Image": APP, "VolumeConfig": {"VolumeMounts": [{"Path": "/", "HostPath": "/host"}]}}
    told = managed.agent("PUT", "/container/evil", body, "-H", f"Authorization: Bearer {token}").stdout
    assert json.loads(told)["Kind"] == "Denied"
    assert "Container evil is installed" in managed.agent("PUT", "/container/evil", body).stdout
    # and what an admin has mounted, it does not enter
    managed.gear("start", "evil")
    exec_ = managed.agent(
        "POST", "/container/evil/exec", {"Command": ["id"]}, "-H", f"Authorization: Bearer {token}",
        "-H", "Connection: Upgrade", "-H", "Upgrade: geard-session/1",
    ).stdout  # fmt: skip
    assert json.loads(exec_)["Kind"] == "Denied"
    managed.gear("delete", "evil")
    managed.gear("token", "revoke", "ops")


def test_it_is_tls_for_others_and_plain_for_root_here(managed: Shell, h2: Shell) -> None:
    assert "afar" in managed.agent("GET", "/containers").stdout
    plain = h2.run(["curl", "-sS", "-m", "5", f"http://{managed.address}:43273/containers"], check=False)
    assert plain.returncode != 0
    none = h2.run(["curl", "-sSk", "-m", "5", f"https://{managed.address}:43273/containers"])
    assert json.loads(none.stdout)["Kind"] == "Unauthenticated"
    old = h2.run(["curl", "-sSk", "-m", "5", "--tls-max", "1.2", f"https://{managed.address}:43273/"], check=False)
    assert old.returncode == 35


def test_a_gear_does_not_reach_the_door(managed: Shell) -> None:
    gear = managed.inside("afar", "wget", "-T", "3", "-qO-", f"https://{managed.address}:43273/", check=False)
    assert gear.returncode != 0
    assert "Unauthenticated" not in gear.stdout + gear.stderr


def test_who_was_revoked_is_refused(managed: Shell, h2: Shell) -> None:
    managed.gear("host", "revoke", "h2")
    told = h2.gear("list", "h1", check=False)
    assert told.returncode == 4
    assert "was revoked" in told.stderr


def test_a_restart_of_the_agent_refuses_no_connection(managed: Shell, h2: Shell) -> None:
    url = f"https://{managed.address}:43273/version"
    loop = f"for i in $(seq 60); do curl -sSk -m 20 -o /dev/null -w '%{{http_code}}\\n' {url}; done"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(h2.sh, loop)
        for _ in range(3):
            managed.run(["systemctl", "restart", "geard.service"])
        told = asking.result()
    # nobody is refused by TCP; who cannot say who asks, is, after a while with 429
    assert set(told.stdout.split()) <= {"401", "429"}, told.stdout + told.stderr
