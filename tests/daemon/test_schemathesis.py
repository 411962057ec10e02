"""Questions that schemathesis makes from the API's own description, put to an agent with all rooms on fakes.

Each is answered in time, with a status, a form and headers that the description has; nothing is a bug.
`GEARD_FUZZ=600` has it go on for so many seconds.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.host import FakeHost
from tests.fakes.terminal import serving

from geard.daemon import server

SECONDS = int(os.environ.get("GEARD_FUZZ", "0"))
# 503 and 504 are answers that the description has: the fakes have no registry to log in to. What follows for
# ever, or half a minute where nothing is said, is asked for what is there.
CONFIG = """
[generation]
max-examples = {examples}
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", "503", "504"]
[[operations]]
include-operation-id = "FollowLog"
parameters = {{ "query.follow" = "false", "query.timeout" = "0" }}
"""
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def test_every_answer_is_one_that_the_description_has(
    fake_host: FakeHost, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sockets = server.bound_sockets(server.Listen(scratch / "geard.sock", 0))
    port = sockets[1].getsockname()[1]
    config = scratch / "schemathesis.toml"
    config.write_text(CONFIG.format(examples=1_000 if SECONDS else 12))
    bounds = ["--max-time", str(SECONDS)] if SECONDS else ["--seed", "43273"]
    with caplog.at_level(logging.WARNING), serving(fake_host, sockets):
        finished = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                *("--config-file", str(config), "run", f"http://127.0.0.1:{port}/openapi.json"),
                *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--request-timeout", "20"),
                *("--continue-on-failure", "--no-color", "--generation-database", "none", *bounds),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
            timeout=SECONDS + 600,
        )
    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr[-2_000:]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
