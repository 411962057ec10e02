"""What a host does for others, on real hosts: h1 tells h2 what came of an operation, and nobody steers it home."""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Generator

import pytest
from lab.labs import Lab
from tests.lab.conftest import SETTINGS, Shell, eventually

from geard.identifiers import new_request_id, parse_request_id

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"

# Appends each request it is sent to /root/told, a line of JSON each, with who sent it where that is a local user.
RECEIVER = """
import base64, http.server, json, sys
def sender(address, port):
    end = "%02X%02X%02X%02X:%04X" % (*reversed(tuple(map(int, address.split(".")))), port)
    rows = [line.split() for line in open("/proc/net/tcp")]
    return next((int(row[7]) for row in rows if row[1] == end), None)
class Told(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        line = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                "body": base64.b64encode(body).decode(), "uid": sender(*self.client_address)}
        with open("/root/told", "a") as file:
            file.write(json.dumps(line) + "\\n")
        self.send_response(204)
        self.end_headers()
    do_GET = do_POST
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Told).serve_forever()
"""


@pytest.fixture
def other(lab: Lab, host: Shell) -> Generator[Shell]:
    """Another machine, without anything that listens."""
    host.lab_does("up", "2")
    found = Shell(lab, "h2")
    yield found
    for each in (host, found):
        each.run(["systemctl", "stop", "receiver"], check=False)
        each.run(["rm", "-f", "/root/told", SETTINGS])
    ids = host.gear("callback", "list", "-o", "name").stdout.split()
    if ids:
        host.gear("callback", "remove", *ids)


def receive(at: Shell, port: int = 8766) -> None:
    at.sh("cat > /root/receiver.py <<'END'\n" + RECEIVER + "END\n")
    at.run(["systemd-run", "-q", "--collect", "--unit=receiver", "python3", "/root/receiver.py", str(port)])
    eventually(lambda: f":{port} " in at.run(["ss", "-ltn"]).stdout)


def told(at: Shell) -> list[dict[str, object]]:
    return [json.loads(line) for line in at.run(["cat", "/root/told"], check=False).stdout.splitlines()]


def test_a_receiver_that_was_down_is_told_by_the_next_agent(host: Shell, other: Shell) -> None:
    id = new_request_id()
    host.run(["tee", SETTINGS], stdin=f'[callbacks]\nallow = ["{other.address}/32"]\n')
    url = f"http://{other.address}:8766/hook?token=secret-path"
    host.gear("--request-id", id, "--callback", url, "install", TOOLS, "web", "--start")
    eventually(lambda: "does not answer" in host.gear("callback", "list").stdout)
    host.run(["systemctl", "kill", "-s", "KILL", "geard"])
    receive(other)
    host.gear("callback", "retry", id)
    eventually(lambda: told(other), 30)
    eventually(lambda: host.gear("callback", "list", "-o", "name").stdout == "")

    found = told(other)[0]
    headers, raw = found["headers"], base64.b64decode(str(found["body"]))
    assert isinstance(headers, dict) and found["path"] == "/hook?token=secret-path"
    key = base64.b64decode(host.gear("callback", "key").stdout.strip().removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    body = json.loads(raw)
    assert (body["RequestId"], body["Host"], body["Request"]) == (id, host.name, "PUT /container/web")
    assert (body["Outcome"], body["Message"]) == ("done", "web is running")
    assert {row["headers"]["webhook-id"] for row in told(other) if isinstance(row["headers"], dict)} == {
        headers["webhook-id"]
    }
    journal = host.run(["journalctl", "-q", "-u", "geard", "-o", "cat"]).stdout
    assert f"http://{other.address}:8766 has it" in journal and "secret-path" not in journal


def test_an_agent_that_is_stopped_at_once_has_not_forgotten_whom_to_tell(host: Shell, other: Shell) -> None:
    """Wherever it had got to."""
    id = new_request_id()
    host.run(["tee", SETTINGS], stdin=f'[callbacks]\nallow = ["{other.address}/32"]\n')
    receive(other)
    options = ("-H", f"Callback: http://{other.address}:8766/", "-H", f"X-Request-Id: {id}")
    host.agent("PUT", "/environment/web", {"Variables": [{"Name": "A", "Value": "1"}]}, *options)
    host.run(["systemctl", "restart", "geard"])
    eventually(lambda: told(other), 30)
    body = json.loads(base64.b64decode(str(told(other)[0]["body"])))
    assert (body["RequestId"], body["Outcome"]) == (id, "done")


ASK = """
for n in $(seq 15); do
    id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
    curl -s -m 5 -o /dev/null -w "%{http_code} $id\\n" -X PUT --unix-socket /run/geard/geard.sock \\
        -H "X-Request-Id: $id" -H 'Callback: http://127.0.0.1:8766/' -d '{}' http://localhost/environment/web
done > /root/answers
"""


def test_all_that_was_answered_is_told_of_however_often_the_agent_is_killed(host: Shell, other: Shell) -> None:
    host.run(["tee", SETTINGS], stdin='[callbacks]\nallow = ["127.0.0.0/8"]\n')
    receive(host)
    host.run(["systemd-run", "-q", "--collect", "--unit=asking", "sh", "-c", ASK])
    while host.run(["systemctl", "is-active", "asking"], check=False).returncode == 0:
        host.run(["sleep", f"{random.uniform(0.3, 2):.2f}"])
        host.run(["systemctl", "kill", "-s", "KILL", "geard"], check=False)
    host.run(["systemctl", "start", "geard"])
    lines = [line.split() for line in host.run(["cat", "/root/answers"]).stdout.splitlines()]
    answered = {parse_request_id(id) for status, id in lines if status == "200"}

    def told_of() -> set[str]:
        return {json.loads(base64.b64decode(str(row["body"])))["RequestId"] for row in told(host)}

    assert answered
    eventually(lambda: answered <= told_of(), 150)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "own"])
def test_nothing_steered_to_the_agents_own_door_gets_there(host: Shell, other: Shell, address: str) -> None:
    """Even where everything is allowed; and if it did, it would come as nobody."""
    id = new_request_id()
    everything = '["0.0.0.0/0", "::/0"]'
    host.run(["tee", SETTINGS], stdin=f"[fetch]\nallow = {everything}\n[callbacks]\nallow = {everything}\n")
    at = host.address if address == "own" else address
    refused = host.gear("set-env", "web", "--env-url", f"http://{at}:43273/containers", check=False)
    assert refused.returncode == 64 and "is this machine's agent" in refused.stderr
    host.gear("--request-id", id, "--callback", f"http://{at}:43273/containers", "set-env", "web", "A=1")
    eventually(lambda: "is this machine's agent" in host.gear("callback", "show", id).stdout)
    assert host.gear("env", "web").stdout == "A=1\n"


def test_what_asks_for_others_is_nobody(host: Shell, other: Shell) -> None:
    receive(host)
    url = "http://127.0.0.1:8766/"
    refused = host.gear("set-env", "web", "--env-url", url, check=False)
    assert refused.returncode == 64 and "is not a public address" in refused.stderr
    host.run(["tee", SETTINGS], stdin='[fetch]\nallow = ["127.0.0.0/8"]\n[callbacks]\nallow = ["127.0.0.0/8"]\n')
    host.gear("--callback", url, "set-env", "web", "A=1")
    eventually(lambda: told(host))
    host.gear("set-env", "web", "--env-url", url, check=False)
    assert [row["uid"] for row in told(host)] == [65534, 65534]


def test_a_link_lets_a_stranger_of_the_machine_ask_one_thing(host: Shell) -> None:
    host.gear("set-env", "web", "A=1")
    link = host.gear("content-token", "env", "web").stdout.strip()

    def as_nobody(*words: str) -> str:
        return host.run(["setpriv", "--reuid=65534", "--clear-groups", "curl", "-sS", *words]).stdout

    assert "may not use this agent" in as_nobody("http://localhost:43273/environment/web")
    assert as_nobody(link) == "A=1\n"
    host.gear("install", TOOLS, "web")
    once = host.gear("content-token", "start", "web").stdout.strip()
    assert "cannot GET" in as_nobody(once)
    assert "web" in as_nobody("-X", "POST", once)
    host.run(["systemctl", "restart", "geard"])
    assert "works once" in as_nobody("-X", "POST", once)
    eventually(lambda: host.status("web")["ActiveState"] == "active")
    journal = host.run(["journalctl", "-q", "-u", "geard", "-o", "cat"]).stdout
    assert "content token of" in journal and link[-40:] not in journal and once[-40:] not in journal
