"""Where other machines reach this agent, and the certificate it shows them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from geard.host.addresses import Address
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, sweep
from geard.trust.settings import AgentSettings, parse_listen

Names = tuple[str, ...]
_BRIDGES = ("geard0", "geard1")
"""between the host and its gears, which the host's rules keep from its ports"""


def wanted(listen: Sequence[str], known: Sequence[Address]) -> list[tuple[str, int]]:
    """The addresses and ports to bind. Pure.

    All addresses are bound one by one, those that come later too: loopback has the same port, and is another door.
    """
    found: dict[tuple[str, int], None] = {}
    for text in listen:
        address, port = parse_listen(text)
        if not ipaddress.ip_address(address).is_unspecified:
            found[address, port] = None
            continue
        for each in known:
            if (":" in each.text) == (":" in address) and each.interface not in _BRIDGES:
                found[each.text, port] = None
    return list(found)


def names_of(settings: AgentSettings, listen: Sequence[str], known: Sequence[Address]) -> Names:
    """What the agent's certificate is for: the host's name, what the settings say, its addresses. Pure but for the
    host's name.
    """
    places = [address for address, _ in wanted(listen, known)]
    others = [each.text for each in known if each.interface not in _BRIDGES]
    return tuple(dict.fromkeys([socket.gethostname().lower(), *settings.names, *places, *others]))


def doors_of(settings: AgentSettings, known: Sequence[Address]) -> Names:
    """What another machine may give to `gear host add`, the likeliest first."""
    places = wanted(settings.listen, known)
    return tuple(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in places)


def server_file(paths: Paths, names: Names) -> tuple[Path, str]:
    """The file with the agent's key and certificate, made anew where it is not for those names or ends soon; and
    the authority's certificate.

    Raises Unavailable, OSError.
    """
    from geard.trust import authority as authorities  # noqa: PLC0415 - 15 MB that only this door costs

    ours, path = authorities.authority(paths, names[0]), paths.state / "server.pem"
    with locked(paths.state), Changes() as changes:
        sweep(paths.state)
        known = path.read_bytes() if path.exists() else b""
        if not authorities.still_good(known, ours, names):
            changes.write(path, authorities.server_bundle(ours, names), 0o600)
    return path, ours.pem.decode()
