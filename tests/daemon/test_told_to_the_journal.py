"""The journal knows by fields who asked for what, of the agent's requests and of what a local gear changes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.daemon.belfry import RunningAgent
from tests.fakes.host import FakeHost, make_host
from tests.fakes.terminal import agent, terminal

from geard.host.journal_writing import entry_of
from geard.identifiers import new_request_id

ID = new_request_id()


def test_the_agents_line_of_a_change(
    fake_host: FakeHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, str]] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(entry_of(record, record.getMessage()))

    handler, log = Told(), logging.getLogger("geard")
    log.addHandler(handler)
    tmp_path.chmod(0o755)
    caplog.set_level(logging.INFO, "geard")
    try:
        with agent(fake_host, tmp_path) as socket:
            there = RunningAgent(socket, 0)
            assert there.ask("PUT", "/container/web", {"Image": "geard/sample"}, X_Request_Id=ID).status == 200
            assert there.ask("PUT", "/container/we..b", {}).status == 400
            there.ask("GET", "/version")
    finally:
        log.removeHandler(handler)
    done, refused = (entry for entry in told if "GEARD_STATUS" in entry)
    assert {name: done[name] for name in done if name.startswith("GEARD_")} == {
        "GEARD_REQUEST_ID": ID,
        "GEARD_ASKER": "uid 0 (root)",
        "GEARD_DOOR": "unix socket",
        "GEARD_ROUTE": "PUT /container/{id}",
        "GEARD_REQUEST": "InstallContainer",
        "GEARD_GEAR": "web",
        "GEARD_STATUS": "200",
    }
    assert (refused["GEARD_STATUS"], refused["GEARD_ROUTE"]) == ("400", "PUT /container/{id}")


def test_what_a_local_gear_changes(tmp_path: Path) -> None:
    with terminal(tmp_path, "local", make_host(tmp_path / "host")) as gear:
        gear.ok("--request-id", ID, "install", "geard/sample", "web")
        gear.ok("status", "web")
        gear.ok("set-env", "web", "A=swordfish")
        assert gear("start", "nowhere").code == 5
        told = [entry.fields for entry in gear.host.journal.messages]
        install, environment, refused = (
            fields for fields in told if "GEARD_DOOR" in fields
        )  # the rest are events
    assert install["MESSAGE"] == f"root on this machine, terminal: InstallContainer web [{ID}] accepted"
    assert install["GEARD_REQUEST_ID"] == ID
    assert (install["GEARD_GEAR"], install["GEARD_DOOR"]) == ("web", "terminal")
    assert environment["GEARD_ENVIRONMENT"] == "web"
    assert "swordfish" not in str(environment)
    assert refused["GEARD_FAILURE"] == "NotFound"
