"""The agent killed, or restarted, again and again while it is asked: nothing accepted is lost, nothing done twice.

`GEARD_STORM_SECONDS=300` makes it long; docs/RELIABILITY.md has the figures of such a run.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from tests.lab.conftest import Shell, eventually
from tests.lab.test_faults import bring

from geard.identifiers import new_request_id

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
SECONDS = float(os.environ.get("GEARD_STORM_SECONDS", "20"))
SEED = os.environ.get("GEARD_STORM_SEED", "1")


def storm(host: Shell, way: str) -> dict[str, Any]:
    bring(host)
    words = ["env", "PYTHONPATH=/root/geard-faults", "/usr/bin/python3", "-m", "faults.inside.storm"]
    done = host.run([*words, str(SECONDS), way, SEED], seconds=SECONDS + 400)
    print(done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def nothing_was_lost(found: dict[str, Any]) -> None:
    assert found["requests"] > 20 and found["blows"] > 1
    for what in ("unsettled", "told otherwise", "wrong", "problems"):
        assert found[what] == [], what
    assert found["bugs"] == 0


def test_an_agent_that_is_killed_again_and_again(host: Shell) -> None:
    found = storm(host, "kill")
    nothing_was_lost(found)
    assert found["starts"] == found["restarts"]


def test_an_agent_that_is_restarted_under_load_drops_no_connection(host: Shell) -> None:
    found = storm(host, "restart")
    nothing_was_lost(found)
    assert (found["broken"], found["refused"]) == (0, [])
    assert found["starts"] == found["restarts"]


def test_the_same_bytes_after_a_kill(host: Shell) -> None:
    id = new_request_id()
    ask = f"curl -si -X PUT localhost:43273/container/web -H 'X-Request-Id: {id}' -d '{{\"Image\":\"{APP}\"}}'"
    first = host.sh(f"{ask} | grep -vi ^date").stdout
    assert first.startswith("HTTP/1.1 200") and "is installed" in first
    host.run(["systemctl", "kill", "-s", "KILL", "geard"])
    eventually(lambda: host.run(["curl", "-sf", "http://localhost:43273/version"], check=False).returncode == 0)
    assert host.sh(f"{ask} | grep -vi ^date").stdout == first
    other = host.agent("PUT", "/container/web", {"Image": "geard/test-tools"}, "-H", f"X-Request-Id: {id}").stdout
    assert json.loads(other)["Kind"] == "Conflict"


def test_a_command_that_is_killed_is_gone_on_with(host: Shell) -> None:
    """Told to install and start, killed when it has answered: the next agent starts the gear, and says so."""
    id = new_request_id()
    host.run(["systemctl", "stop", "geard.socket", "geard-loopback.socket", "geard-loopback6.socket", "geard"])
    host.sh(
        f"gear --request-id {id} install {APP} web --start & pid=$!\n"
        f"while ! grep -q Answer /run/geard/requests/{id} 2>/dev/null; do :; done; kill -9 $pid; wait $pid; true"
    )
    host.run(["systemctl", "start", "geard.socket", "geard-loopback.socket", "geard-loopback6.socket", "geard"])
    done = host.gear("wait", id)
    assert done.stdout.splitlines()[-1] == "web is running"
    assert host.status("web")["ActiveState"] == "active"
    rows = json.loads(host.gear("requests", "-o", "json").stdout)
    assert [each["State"] for each in rows if each["Id"] == id] == ["done"]


def test_a_pull_that_two_want_is_one(host: Shell) -> None:
    host.sh("systemctl start docker-registry")
    host.sh("podman push -q --tls-verify=false geard/test-tools localhost:5000/tools:1")
    host.sh('printf "[registries]\\ninsecure = [\\"localhost:5000\\"]\\n" > /etc/geard/geard.toml')
    try:
        began = host.sh("systemctl kill -s STOP docker-registry; date +%s.%N").stdout.strip()
        host.sh("for n in 1 2; do systemd-run -q --collect --unit=pulls-$n gear pull localhost:5000/tools:1; done")
        asking = ["pgrep", "-fc", "gear pull localhost:5000/tools:1"]
        eventually(lambda: host.run(asking, check=False).stdout == "2\n")
        time.sleep(1)  # both wait for the registry
        host.sh("systemctl kill -s CONT docker-registry")
        eventually(lambda: host.run(asking, check=False).stdout == "0\n", 60)
        units = host.sh(f"journalctl -o cat --no-pager --since=@{began} | grep -c 'Starting geard-pull@'").stdout
        assert units == "1\n"
    finally:
        host.run(["rm", "-f", "/etc/geard/geard.toml"])
