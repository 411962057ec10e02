"""Whether a program that was just started takes connections: what runs is led to it next."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

PATIENCE = 10.0
"""seconds for a program between its start and its first connection"""


def await_answers(places: Sequence[tuple[str, int]], seconds: float = PATIENCE) -> bool:
    """Wait until one of a program's ports accepts a connection; False where all go on refusing. (All of them would
    be too much: a member of a cluster may open one when the others have found it at another.) What cannot be
    reached from this machine tells nothing, and is not waited for.
    """
    end = time.monotonic() + seconds
    while True:
        for place in places:
            try:
                socket.create_connection(place, timeout=1).close()
            except ConnectionRefusedError:
                continue
            except OSError:
                return True
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
