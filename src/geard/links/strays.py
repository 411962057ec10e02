"""Connections that go on where a link once led: left alone while that far end lives, ended when it is gone.

Which they are is asked of the kernel, not remembered: those it has led elsewhere than the link leads now. Of UDP
none goes on: a datagram belongs to no connection.
"""

from __future__ import annotations

from functools import partial

from geard.links import live, netns
from geard.links.far_ends import connect, is_here
from geard.links.live import Place
from geard.links.netns import Connection


def find(place: Place) -> tuple[int, list[Connection]]:
    """A process of the gear, and its strays. Nothing where it does not run."""
    pid, now = live.process(place), live.standing(place)
    if not pid or now is None:
        return 0, []
    led = {(to.protocol, (to.from_host, to.from_port)): (to.address, to.port) for to in now.led}
    connections = netns.inside(pid, netns.led_connections)
    return pid, [c for c in connections if led.get((c.protocol, c.place)) != c.target]


def cut_gone(place: Place, suspects: set[tuple[str, int]] | None = None) -> int:
    """End the strays whose far end is gone; how many were.

    One that refuses is gone. One that does not answer may be busy: it counts as gone where it is among `suspects`,
    those that did not answer when it was looked before, and else becomes one of them.
    """
    try:
        pid, strays = find(place)
        gone = {
            target for target in {c.target for c in strays if c.protocol == "tcp"} if _gone(pid, target, suspects)
        }
        ended = [c for c in strays if c.protocol == "udp" or c.target in gone]
        for connection in ended:
            netns.inside(pid, partial(netns.cut, connection))
    except OSError:
        return 0  # it has just ended
    return len([c for c in ended if c.protocol == "tcp"])


def _gone(pid: int, target: tuple[str, int], suspects: set[tuple[str, int]] | None) -> bool:
    """Asked from inside the gear; of the host itself, from there: its rules let the gear in there no more."""
    state = connect(*target) if is_here(target[0]) else netns.inside(pid, lambda: connect(*target))
    if suspects is None or state != "no answer":
        return state == "refused"
    known = target in suspects
    (suspects.discard if known else suspects.add)(target)
    return known
