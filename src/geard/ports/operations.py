"""Ports, asked for."""

from __future__ import annotations

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import no_such_gear
from geard.host.storage import read_text
from geard.identifiers import bucket, check_id
from geard.ports.pairs import parse_metadata
from geard.ports.requests import GetPorts, Ports


@operation
async def get_ports(request: GetPorts, work: Work) -> Ports:
    check_id(request.id)
    unit = work.host.paths.base / "units" / bucket(request.id) / f"ctr-{request.id}.service"
    text = await work.on_disk(read_text, unit)
    if text is None:
        raise no_such_gear(request.id)
    return Ports(ports=parse_metadata(text))
