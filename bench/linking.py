"""Far ends of links on another machine: the lab's own network, outside of every host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

from lab.labs import Lab
from lab.machine import LabError

ONE, TWO = (7_101, 7_102), (7_201, 7_202)
"""ports: where its name is said, and where everything is taken"""
OUTSIDE = 244


@contextmanager
def far_ends(lab: Lab) -> Generator[int]:
    """Two programs on one machine that no gear runs on; its address, as a number."""
    network = lab.network()
    if network is None:
        raise LabError(f"lab {lab.name} is not up")
    with ExitStack() as stack:
        for name, ports in (("one", ONE), ("two", TWO)):
            words = ["serve", name, *map(str, ports)]
            command = ["ip", "netns", "exec", network.bridge_namespace]
            command += [sys.executable, "-m", "bench.inside.talking", *words]
            child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(child.terminate)
            assert child.stdout
            if child.stdout.readline() != "ready\n":
                raise LabError(f"the far end {name} of links does not come up")
        yield int(IPv4Address(network.address(OUTSIDE)))
