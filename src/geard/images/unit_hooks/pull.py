#!/usr/bin/python3 -IS
"""Pull one image, as `/run/geard/pulls/KEY` orders; the reason of a failure goes to `KEY.failed`.

gear-pull KEY      the work of geard-pull@KEY.service
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

PULLS = "/run/geard/pulls"


def main(key: str) -> int:
    if not re.fullmatch("[0-9a-f]{32}", key):
        sys.exit(f"{key!r} is no key of a pull")
    with open(f"{PULLS}/{key}", encoding="utf-8") as file:
        order = json.load(file)
    print(f"pulling {order['name']}", flush=True)
    errors = ""
    for argvs in order["tries"]:  # mirrors first
        error = _first_error(argvs)
        if error is None:
            os.unlink(f"{PULLS}/{key}")
            return 0
        errors = error
    with open(f"{PULLS}/{key}.failed", "w", encoding="utf-8") as file:
        file.write(errors)
    return 1


def _first_error(argvs: list[list[str]]) -> str | None:
    """Run one program after the other, until one fails; what that says."""
    for argv in argvs:
        said = ""
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as running:
            for line in running.stderr or ():
                sys.stderr.write(line)  # at once: somebody may be watching the journal
                said = (said + line)[-4_000:]
        if running.returncode:
            return said or f"{argv[0]} ended with {running.returncode}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
