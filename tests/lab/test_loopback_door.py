"""Who is root for the agent of a real host, and who only looks like it."""

from __future__ import annotations

import json

import pytest
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

TOOLS = "docker.io/geard/test-tools"
ASK = 'printf "GET /containers HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n" | nc -w 3 127.0.0.1 43273 | head -1'


@pytest.mark.parametrize(
    "options",
    [[], ["--uidmap", "0:2000000:65536", "--gidmap", "0:2000000:65536"], ["--user", "1001"], ["--privileged"]],
    ids=["root", "root of its own", "a user", "privileged"],
)
def test_a_container_on_the_hosts_network_is_refused(host: Shell, options: list[str]) -> None:
    """On unified control groups, and beside those of version 1 where systemd has both: the kernel tells then that
    the socket was made in a container.
    """
    host.agent("GET", "/containers")
    done = host.run(["podman", "run", "--rm", "--network=host", *options, TOOLS, "sh", "-c", ASK])
    assert done.stdout.split()[1] in ("401", "403"), done.stdout


def test_nothing_is_listened_on_but_loopback_unless_an_admin_says_so(host: Shell) -> None:
    host.agent("GET", "/containers")
    listening = host.run(["ss", "-Hltn", "sport = :43273"]).stdout.splitlines()
    assert {line.split()[3] for line in listening} == {"127.0.0.1:43273", "[::1]:43273"}


def test_a_gear_cannot_reach_the_agent_at_all(host: Shell) -> None:
    host.gear("install", TOOLS, "curious", "--start", "--", "sh", "-c", "while :; do sleep 1; done")
    for address in ("127.0.0.1", "10.183.0.1", host.address):
        asked = ASK.replace("127.0.0.1", address)
        assert host.inside("curious", "sh", "-c", asked, check=False).stdout == ""


def test_a_member_of_the_group_is_root(host: Shell) -> None:
    """Written down in docs/SECURITY.md: whoever may have the host's / mounted reads all of it."""
    host.sh("id -u member >/dev/null 2>&1 || useradd --groups geard member")
    try:
        body = {
            "Image": TOOLS,
            "Simple": True,
            "Started": True,
            "VolumeConfig": {"VolumeMounts": [{"Path": "/", "HostPath": "/host"}]},
            "Command": ["sh", "-c", "while :; do sleep 1; done"],
        }
        ask = "curl -sS --fail-with-body --unix-socket /run/geard/geard.sock -X PUT"
        host.run(["tee", "/tmp/body"], stdin=json.dumps(body))
        host.run(["su", "member", "-c", f"{ask} 'http://x/container/greedy?follow=true' -d @/tmp/body"])
        assert host.inside("greedy", "grep", "^root:", "/host/etc/shadow").stdout
        refused = host.run(["su", "member", "-c", "curl -s http://localhost:43273/containers"]).stdout
        assert json.loads(refused)["Kind"] == "Denied"
    finally:
        host.sh("userdel member; rm -f /tmp/body")
