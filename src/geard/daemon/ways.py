"""How operations reach other machines: by the certificates of root's `gear host add`."""

from __future__ import annotations

from geard.dispatch.peers import Way, reach_peers_by
from geard.identifiers import parse_place
from geard.transport import Transport


def reach_peers() -> None:
    reach_peers_by(_peer, _way)


def _peer(name: str) -> Transport:
    from geard.transport.http import HttpTransport  # noqa: PLC0415 - few ask another machine

    return HttpTransport(parse_place(name))


def _way(name: str) -> Way:
    """Raises Unavailable, NotFound."""
    from geard.transport import known_hosts  # noqa: PLC0415 - as above

    return Way(*known_hosts.way(name))
