"""Hundreds of hostile questions to the agent of a real host, with systemd and podman behind it."""

from __future__ import annotations

import base64
import json
import random

import pytest
from tests.daemon.test_hostile_requests import SEED, question, routes_to_try
from tests.lab.conftest import Shell

pytestmark = pytest.mark.lab

# Runs in the host: asks each question of a list, and prints status and text of each answer.
ASK = """
import base64, http.client, json, sys
for method, target, body, headers in json.load(sys.stdin):
    connection = http.client.HTTPConnection("localhost", 43273, timeout=60)
    chunked = headers.pop("Transfer_Encoding", "") == "chunked"
    body = None if body is None else base64.b64decode(body)
    connection.request(method, target, iter([body]) if chunked and body else body,
        {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]), flush=True)
    connection.close()
"""


def test_hundreds_of_questions_and_the_agent_answers_on(host: Shell) -> None:
    """Another seed than the agent on fakes has had. Refusals have their form; the agent is the same at the end."""
    chance = random.Random(SEED + 1)
    routes = [entry for entry in routes_to_try() if entry.route.path != "/containers"]
    asked = [question(chance, routes, "geard/test-tools") for _ in range(400)]
    host.gear("install", "geard/test-tools", "localhost/there")
    agent = host.run(["systemctl", "show", "-P", "MainPID,InvocationID", "geard.service"]).stdout
    since = host.run(["date", "+@%s"]).stdout.strip()
    rows = [(m, t, None if b is None else base64.b64encode(b).decode(), h) for m, t, b, h in asked]
    answers = host.run(["python3", "-c", ASK], stdin=json.dumps(rows), seconds=300).stdout.splitlines()
    assert len(answers) == len(asked)
    for row, answer in zip(asked, answers, strict=True):
        status, text = json.loads(answer)
        if status >= 400:
            told = json.loads(text)
            assert {"Kind", "Message", "RequestId"} <= told.keys(), (row, told)
            assert told["Kind"] != "Bug", (row, told)
    assert host.run(["systemctl", "show", "-P", "MainPID,InvocationID", "geard.service"]).stdout == agent
    journal = host.run(["journalctl", "-q", "-o", "cat", "-u", "geard", "--since", since]).stdout
    assert "Traceback" not in journal and "bug" not in journal
    host.gear("delete-env", "there", "nobody", "a" * 64)
