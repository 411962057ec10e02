"""schemathesis, put to an agent: questions made from its own description, answers held against it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# 503 and 504 are answers that the description has: such as of a registry that cannot be reached. What follows for
# ever, or half a minute where nothing is said, is asked for what is there.
# It has no way to write a tar.
CONFIG = """
[[operations]]
include-operation-id = "CopyIn"
enabled = false
[[operations]]
include-operation-id = "SendSource"
enabled = false
[generation]
max-examples = {examples}
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", "503", "504"]
""" + "".join(
    f'[[operations]]\ninclude-operation-id = "{name}"\nparameters = {{{{ "query.follow" = "false"{further} }}}}\n'
    for name, further in (
        ("FollowLog", ', "query.timeout" = "0"'),
        ("FollowEvents", ', "query.timeout" = "0"'),
        ("FollowJobLog", ""),
        ("FollowBuild", ""),
        ("RunJob", ""),
        ("BuildImage", ""),
        ("ShowUsage", ""),
        ("LinkContainer", ""),
        ("LinkContainerByPost", ""),
        ("LinkContainers", ""),
        ("LinkContainersByPut", ""),
    )
)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)


def ask(
    port: int,
    scratch: Path,
    *,
    through: Sequence[str] = (),
    examples: int = 12,
    seconds: int = 0,
    phases: str = "",
) -> None:
    """Raises AssertionError with what schemathesis says where an answer is not as described, or takes 20 s.

    `through` is a command that goes before it; `seconds` has it go on for so long.
    """
    config = scratch / "schemathesis.toml"
    config.write_text(CONFIG.format(examples=1_000 if seconds else 12))
    argv = [
        *through,
        str(Path(sys.executable).with_name("st")),
        *("--config-file", str(config), "run", f"http://127.0.0.1:{port}/openapi.json"),
        *("--checks", CHECKS, "--phases", phases or "examples,coverage,fuzzing", "--request-timeout", "20"),
        *("--continue-on-failure", "--no-color", "--generation-database", "none"),
        *(("--max-time", str(seconds)) if seconds else ("--seed", "43273")),
    ]
    finished = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd=scratch, timeout=seconds + 600
    )
    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr[-2_000:]
    assert "Tested: 0" not in finished.stdout
