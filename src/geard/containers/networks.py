"""The networks of gears, one an engine: two cannot share a bridge, since netavark removes an empty one."""

from __future__ import annotations

from geard.containers import slots
from geard.containers.slots import Bridge
from geard.containers.units import NETWORK
from geard.host import Host
from geard.host.engine import Engine


async def make(host: Host, engine: Engine) -> Bridge:
    """Have the engine's network there, as `gear setup` chose it. Raises Unavailable where that has not run."""
    bridge = slots.bridge(host.paths, engine.name)
    await engine.make_network(NETWORK, engine.bridge, str(bridge.ipv4), str(bridge.ipv6 or ""))
    return bridge
