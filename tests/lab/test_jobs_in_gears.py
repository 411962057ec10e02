"""`gear run --in GEAR`: what the gear has is the job's too, and nothing of the gear's is disturbed."""

from __future__ import annotations

import json

import pytest
from tests.lab.conftest import APP, BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"


@BOTH
def test_environment_secrets_volumes(host: Shell) -> None:
    host.gear("secret", "create", "word", stdin="s3cret", check=False)
    host.gear("install", TOOLS, "db", "--start", "-p", "none", "GREETING=hello there", "-v", "/data",
              "--secret", "word", "--secret", "word:env=WORD")  # fmt: skip
    host.inside("db", "sh", "-c", "echo from the gear >/data/f; chmod 600 /data/f")
    script = 'cat /data/f; echo "$GREETING $MORE $WORD"; cat /run/secrets/word; echo; echo job >>/data/f; id -u'
    done = host.run(["gear", "run", "--in", "db", "-e", "MORE=too", "--", "sh", "-c", script], check=False)
    assert done.stdout == "from the gear\nhello there too s3cret\ns3cret\n0\n", done.stderr
    assert host.inside("db", "cat", "/data/f").stdout == "from the gear\njob\n", "the gear goes on, and sees it"
    job = json.loads(host.gear("jobs", "-a", "-o", "json").stdout)[0]
    assert (job["Gear"], job["Result"]["Status"]) == ("db", 0)
    refused = host.run(["gear", "run", "--in", "nosuch", "true"], check=False)
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (125, "Error: there is no gear nosuch here")
    host.gear("delete", "--purge", "db")
    host.gear("secret", "remove", "word")


@BOTH
def test_links(host: Shell) -> None:
    host.gear("install", APP, "web", "--start")
    port = host.port("web")
    host.gear("install", TOOLS, "db", "-p", "none")
    host.gear("link", "-n", f"127.0.0.1:8081:{host.address}:{port}", "db")
    # On Docker they are there some milliseconds before or behind the program.
    page = "for n in 1 2 3 4 5 6 7 8; do wget -qO- -T 5 http://127.0.0.1:8081/ && break; sleep 0.1; done"
    done = host.run(["gear", "run", "--in", "db", "--", "sh", "-c", page], check=False)
    assert done.stdout == host.page(port), done.stderr
    eventually(lambda: not host.sh("ls /run/geard/jobs").stdout)
    assert host.sh("nft -j list set inet geard links").stdout.count("concat") == 0, "its way to the host is shut"
