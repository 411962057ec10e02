#!/usr/bin/python3 -IS
"""A gear whose ports were changed while it ran has ended, or is started anew: the engine publishes what its
definition says, and geard's own rules for it go.

    gear-remap ctr-ID

Run by the gear's hooks, and only where there is something to do (`/run/geard/ports/ctr-ID`).
"""

from __future__ import annotations

import subprocess
import sys

RUN = "/run/geard"


def main(name: str) -> int:
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from geard.ports.live import change  # noqa: PLC0415 - the path must be known before

    change(RUN, name, None, load)
    return 0


def load(rules: str) -> None:
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=rules, text=True, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
