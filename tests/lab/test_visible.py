"""What an operator sees of a real host: the journal by request id, figures, health, gear doctor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.daemon.questions import ask
from tests.lab.conftest import APP, Shell, eventually

from geard.identifiers import DEFAULT_PORT, new_request_id

pytestmark = pytest.mark.lab

IDLE_KB = 60_000
DESCRIBED_KB = 66_000
"""once it has been asked for the description of itself, which it keeps"""
DIES = ("sh", "-c", "sleep 2; exit 3")


def entries(host: Shell, *matches: str) -> list[dict[str, Any]]:
    lines = host.run(["journalctl", "-q", "-o", "json", *matches]).stdout.splitlines()
    return [json.loads(line) for line in lines]


def figures(host: Shell) -> dict[tuple[str, str], float]:
    """By name and the value of the first label, or nothing."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(host.agent("GET", "/metrics").stdout)
        for sample in family.samples
    }


def findings(host: Shell, *words: str) -> dict[str, dict[str, Any]]:
    (found,) = json.loads(host.gear("doctor", *words, "-o", "json", check=False).stdout)
    return {each["What"]: each for each in found["Findings"]}


def test_the_journal_is_searched_by_request_id(host: Shell) -> None:
    by_agent, by_hand = new_request_id(), new_request_id()
    doors = {"by_agent": "loopback", "by_hand": "terminal"}
    host.agent("PUT", "/container/web", {"Image": APP}, "-H", f"X-Request-Id: {by_agent}")
    eventually(lambda: entries(host, f"GEARD_REQUEST_ID={by_agent}", "GEARD_DOOR=" + doors["by_agent"]))
    (told,) = entries(host, f"GEARD_REQUEST_ID={by_agent}", "GEARD_DOOR=" + doors["by_agent"])  # events have none
    assert told["_SYSTEMD_UNIT"] == "geard.service"
    assert (told["GEARD_GEAR"], told["GEARD_STATUS"], told["PRIORITY"]) == ("web", "200", "6")
    assert told["GEARD_ROUTE"] == "PUT /container/{id}"
    host.gear("--request-id", by_hand, "start", "web")
    eventually(lambda: entries(host, f"GEARD_REQUEST_ID={by_hand}", "GEARD_DOOR=" + doors["by_hand"]))
    (told,) = entries(host, f"GEARD_REQUEST_ID={by_hand}", "GEARD_DOOR=" + doors["by_hand"])  # events have none
    assert (told["GEARD_GEAR"], told["GEARD_DOOR"], told["_UID"]) == ("web", "terminal", "0")
    assert len(entries(host, "GEARD_GEAR=web", "--since", "-5min")) >= 2


def test_figures_follow_what_happens_and_promtool_has_nothing_to_say(host: Shell) -> None:
    host.gear("install", APP, "localhost/web", "--start")
    before = figures(host)
    assert before["geard_gears", "active"] == 1
    host.gear(
        "install", "geard/test-tools", "localhost/dies", "--restart", "no", "--", "sh", "-c", "sleep 2; exit 3"
    )
    host.gear("start", "localhost/dies")
    eventually(lambda: figures(host)["geard_gears", "failed"] == 1)
    after = figures(host)
    assert after["geard_gear_ends_total", "exit-code"] == before.get(("geard_gear_ends_total", "exit-code"), 0) + 1
    assert after["geard_ports_reserved", "tcp"] >= 1
    assert after["geard_ports_free", "tcp"] < 56_000
    promtool = shutil.which("promtool", path=str(Path(sys.executable).parent)) or shutil.which("promtool")
    assert promtool, "scripts/test takes it out of apt's prometheus"
    text = host.agent("GET", "/metrics").stdout
    judged = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")


def test_an_agent_that_shows_all_of_this_stays_small(host: Shell) -> None:
    host.run(["systemctl", "restart", "geard.service"])
    for pages, most in ((("metrics", "healthz", "version"), IDLE_KB), (("openapi.json", "docs"), DESCRIBED_KB)):
        for page in pages:
            assert host.agent("GET", f"/{page}", None, "-f").stdout
        pid = host.run(["systemctl", "show", "-P", "MainPID", "geard.service"]).stdout.strip()
        status = host.run(["cat", f"/proc/{pid}/status"]).stdout
        assert next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) < most
    assert (
        f"geard {host.gear('version').stdout.split()[1]}"
        in host.run(["systemctl", "show", "-P", "StatusText", "geard.service"]).stdout
    )


def test_a_host_is_looked_over_here_and_through_its_agent(host: Shell) -> None:
    for where in ((), ("localhost",)):
        found = findings(host, *where)
        assert all(found[what]["State"] == "ok" for what in ("systemd", "podman", "nft", "settings", "units"))
        assert found["rules that keep gears apart"]["State"] == "ok"
        assert found["storage of podman"]["State"] == "ok"
        assert found["agent"]["State"] == "ok"
        assert not [each for each in found.values() if each["State"] in ("broken", "missing")]
    assert host.gear("doctor").returncode == 0


def test_what_is_broken_by_hand_is_found_with_what_helps(host: Shell) -> None:
    host.gear("install", "geard/test-tools", "dies", "--restart", "no", "--", *DIES)
    host.gear("start", "dies")
    host.run(["nft", "delete", "table", "bridge", "geard"])
    try:
        eventually(lambda: findings(host)["gears"]["State"] == "broken")
        found = findings(host)
        assert found["rules that keep gears apart"]["Detail"] == "removed since: bridge geard"
        assert "systemctl restart geard-host" in found["rules that keep gears apart"]["Remedy"]
        assert found["gears"]["Remedy"] == "gear status dies"
        assert host.gear("doctor", check=False).returncode == 1
    finally:
        host.run(["systemctl", "restart", "geard-host.service"])
    assert findings(host)["rules that keep gears apart"]["State"] == "ok"


def test_healthz_when_systemds_bus_is_away(host: Shell) -> None:
    assert host.agent("GET", "/healthz").stdout == "ok\n"
    # What needs the bus to come back is asked of PID 1 by its private socket, as systemctl does for root.
    host.run(["systemctl", "stop", "dbus.socket", "dbus.service"])
    try:
        answer = host.agent("GET", "/healthz", None, "-w", " %{http_code}").stdout
    finally:
        host.run(["systemctl", "start", "dbus.socket", "dbus.service"])
    assert answer.endswith(" 503")
    assert "systemd does not answer" in answer
    eventually(lambda: host.agent("GET", "/healthz").stdout == "ok\n")


def test_every_answer_of_a_real_host_is_one_that_the_description_has(host: Shell, tmp_path: Path) -> None:
    """schemathesis stands in the host's network, where root is root; systemd and podman are behind the agent."""
    agent = host.run(["systemctl", "show", "-P", "MainPID,InvocationID", "geard.service"]).stdout
    since = host.run(["date", "+@%s"]).stdout.strip()
    through = ("ip", "netns", "exec", host.lab.host(host.name).namespace)
    ask(DEFAULT_PORT, tmp_path, through=through, phases="examples,coverage")
    assert host.run(["systemctl", "show", "-P", "MainPID,InvocationID", "geard.service"]).stdout == agent
    told = entries(host, "-u", "geard", "-p", "warning", "--since", since)
    messages = [entry["MESSAGE"] for entry in told]
    assert [text for text in messages if "refus" not in text] == [], "but tokens that are none"
    for secret in json.loads(host.agent("GET", "/secrets").stdout)["Secrets"]:
        host.agent("DELETE", f"/secret/{secret['Id']}?force=1")
