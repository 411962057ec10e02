"""Questions that schemathesis makes from the API's own description, put to an agent with all rooms on fakes.

Each is answered in time, with a status, a form and headers that the description has; nothing is a bug.
`GEARD_FUZZ=600` has it go on for so many seconds.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from tests.daemon.questions import ask
from tests.fakes.host import FakeHost
from tests.fakes.terminal import serving

from geard.daemon import server

SECONDS = int(os.environ.get("GEARD_FUZZ", "0"))


def test_every_answer_is_one_that_the_description_has(
    fake_host: FakeHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o755)
    sockets = server.bound_sockets(server.Listen(tmp_path / "geard.sock", 0))
    port = sockets[1].getsockname()[1]
    with caplog.at_level(logging.WARNING), serving(fake_host, sockets):
        ask(port, tmp_path, seconds=SECONDS)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
