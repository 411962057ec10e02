"""How many host ports are given away, and how many are left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from geard.host import Host
from geard.identifiers import DEFAULT_PORT
from geard.measures import Measure
from geard.ports import reservations
from geard.ports.settings import PortSettings


async def measure(host: Host) -> Sequence[Measure]:
    span = host.settings.section(PortSettings).numbers
    reserved = await asyncio.to_thread(lambda: list(reservations.all_reserved(host.paths)))
    used = Counter(protocol for _, protocol in reserved)
    inside = Counter(protocol for port, protocol in reserved if port in span)
    own = DEFAULT_PORT in span  # the agent's, which no gear is given
    free = {"tcp": len(span) - inside["tcp"] - own, "udp": len(span) - inside["udp"]}
    return [
        Measure(
            "geard_ports_reserved",
            "Host ports that belong to gears or are kept away from them.",
            {protocol: used[protocol] for protocol in ("tcp", "udp")},
            "protocol",
        ),
        Measure("geard_ports_free", "Ports left in the range that free ones are taken from.", free, "protocol"),
    ]
