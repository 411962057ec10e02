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
    finished = subprocess.run(order["argv"], stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(finished.stderr)
    if finished.returncode == 0:
        os.unlink(f"{PULLS}/{key}")
        return 0
    with open(f"{PULLS}/{key}.failed", "w", encoding="utf-8") as file:
        file.write(finished.stderr[-4_000:])
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
