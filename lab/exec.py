"""`scripts/lab exec` and nothing else, so that it starts in a few hundredths of a second.

Tests call it all the time; those written in Python can do without even that, by `door.run`.
"""

import sys
from collections.abc import Sequence

from lab import door
from lab.places import DEFAULT_LAB, directory_of, door_of

USAGE = "usage: scripts/lab exec HOST [--] COMMAND…"
GONE = 255
"""What ssh says, too, when the other machine is not there."""


def execute(lab: str, words: Sequence[str]) -> int:
    """Run words[1:] in the host words[0]; its exit status."""
    host, *command = words or [""]
    if command[:1] == ["--"]:
        command = command[1:]
    if host.startswith("-") or not command:
        print(USAGE, file=sys.stderr)
        return 0 if host in ("-h", "--help") else 2
    directory = directory_of(lab, host)
    try:
        return door.run(door_of(directory), command)
    except door.DoorClosed as closed:
        advice = "is down, or went down; `scripts/lab up` starts it" if directory.exists() else "does not exist"
        print(f"scripts/lab: {host} of lab {lab} {advice} ({closed})", file=sys.stderr)
        return GONE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(execute(DEFAULT_LAB, sys.argv[1:]))
