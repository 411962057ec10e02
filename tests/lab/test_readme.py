"""The README's lines for what this version does, pasted. Its image names are in the lab host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

IMAGE = "pmorie/sti-html-app"
FIXTURES = Path(__file__).parents[2] / "deployment/fixtures"


def have_fixtures(host: Shell) -> None:
    """As in a checkout."""
    host.sh("mkdir -p deployment/fixtures")
    for file in FIXTURES.iterdir():
        host.run(["tee", f"deployment/fixtures/{file.name}"], stdin=file.read_text())


def curl(host: Shell, line: str) -> str:
    return host.sh(f"curl -sS --fail-with-body {line}").stdout


def lines_that_work() -> list[str]:
    """All that the page has in blocks marked `sh`."""
    page = (Path(__file__).parents[2] / "docs/README-2014.md").read_text()
    return [line for block in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) for line in block.splitlines()]


def test_every_line_of_the_page_runs_as_it_stands(host: Shell) -> None:
    have_fixtures(host)
    as_root = 'sudo() { "$@"; }; curl() { command curl -sS --fail-with-body "$@"; }'
    lines = lines_that_work()
    assert len([line for line in lines if line.startswith("curl ")]) == 10
    for line in lines:
        done = host.run(["sh", "-c", f"{as_root}; {line}"], check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_remote_words(host: Shell) -> None:
    host.sh(f"gear install {IMAGE} localhost/my-sample-service --start")
    eventually(lambda: host.status("my-sample-service")["ActiveState"] == "active")
    host.sh(f"gear install {IMAGE} localhost/my-sample-service.1 localhost/my-sample-service.2")
    host.sh("gear start localhost/my-sample-service.1 localhost/my-sample-service.2")
    assert "my-sample-service.2" in host.sh("gear list-units localhost").stdout
    host.sh("gear stop localhost/my-sample-service")
    assert "inactive" in host.sh("gear status localhost/my-sample-service").stdout
    host.sh("gear start localhost/my-sample-service && gear restart localhost/my-sample-service")
    assert "active (running)" in host.sh("gear status localhost/my-sample-service").stdout
    host.sh("gear set-env localhost/my-sample-service A=B B=C")
    assert host.sh("gear env localhost/my-sample-service").stdout == "A=B\nB=C\n"
    assert curl(host, '"http://localhost:43273/environment/my-sample-service"') == "A=B\nB=C\n"
    host.sh("gear set-env localhost/my-sample-service --reset")
    assert host.sh("gear env localhost/my-sample-service").stdout == ""


def test_curl_lines(host: Shell) -> None:
    base = "http://localhost:43273/container/my-sample-service"
    body = '{"Image": "pmorie/sti-html-app", "Started":true}'
    said = curl(host, f'-X PUT "{base}" -H "Content-Type: application/json" -d \'{body}\'')
    assert "my-sample-service" in said
    eventually(lambda: host.status("my-sample-service")["ActiveState"] == "active")
    curl(host, f'-X PUT "{base}/stopped"')
    eventually(lambda: host.status("my-sample-service")["ActiveState"] == "inactive")
    curl(host, f'-X PUT "{base}/started"')
    eventually(lambda: host.status("my-sample-service")["ActiveState"] == "active")
    curl(host, f'-X POST "{base}/restart"')
    eventually(lambda: host.status("my-sample-service")["ActiveState"] == "active")
    assert "Active: active (running)" in curl(host, f'"{base}/status"')
    listed = json.loads(curl(host, '"http://localhost:43273/containers"'))
    assert [row["Id"] for row in listed["Containers"]] == ["my-sample-service"]


def test_the_log_ends_by_itself(host: Shell) -> None:
    host.gear("install", IMAGE, "my-sample-service", "--start")
    said = curl(host, '-w "%{time_total}" "http://localhost:43273/container/my-sample-service/log"')
    assert "Started ctr-my-sample-service.service" in said
    assert 25 < float(said.splitlines()[-1]) < 35


def test_env_file(host: Shell) -> None:
    have_fixtures(host)
    host.sh("gear install ccoleman/envtest localhost/env-test1 --env-file=deployment/fixtures/simple.env")
    host.gear("start", "env-test1")
    eventually(lambda: "TEST=value" in host.gear("log", "env-test1").stdout)
    printed = host.gear("log", "env-test1").stdout
    assert 'QUOTED=\\"foo\\"' in printed and "IGNORED" not in printed


def test_find_line_of_the_disk_structure(host: Shell) -> None:
    host.gear("install", IMAGE, "my-sample-service", "-p", "8080:4321")
    line = 'find /var/lib/containers/ports/interfaces -type l -printf "%l %f " -exec cut -f 1-2 {} \\;'
    said = host.sh(line).stdout
    assert said.startswith("/var/lib/containers/units/my/ctr-my-sample-service.service 4321 ")
    assert "X-PortMapping=8080:4321" in said


def test_a_request_id_joins(host: Shell) -> None:
    id = "0123456789abcdef0123456789abcdef"
    body = {"Image": IMAGE, "Ports": [{"Internal": 8080, "External": 0}]}
    first = host.agent("PUT", "/container/joined", body, "-i", "-H", f"X-Request-Id: {id}").stdout
    again = host.agent("PUT", "/container/joined", body, "-i", "-H", f"X-Request-Id: {id}").stdout
    assert _without_date(first) == _without_date(again)
    other = host.agent("PUT", "/container/joined", {"Image": "geard/envtest"}, "-i", "-H", f"X-Request-Id: {id}")
    assert " 409 " in other.stdout


def test_only_root_gets_in_at_loopback(host: Shell) -> None:
    asked = [
        "su",
        "-s",
        "/bin/sh",
        "nobody",
        "-c",
        "curl -s -o /dev/null -w '%{http_code}' http://localhost:43273/containers",
    ]
    assert host.run(asked).stdout == "403"
    asked[-1] = "curl -s -w '%{http_code}' --unix-socket /run/geard/geard.sock http://x/containers"
    assert host.run(asked, check=False).returncode != 0


def _without_date(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("Date:")]
