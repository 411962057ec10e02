"""What the agent does by itself: users of gears whose install was killed between its definition and its user."""

from __future__ import annotations

import asyncio

from geard.accounts import records
from geard.containers import listing, slots, versions
from geard.containers.folders import Folders
from geard.dispatch.dispatcher import Dispatcher
from geard.host import Host
from geard.identifiers import login_name


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await asyncio.to_thread(complete, host)


def complete(host: Host) -> None:
    folder = str(host.paths.run.parent / "userdb")
    for id in listing.installed(host.paths):
        folders, login = Folders.of(host.paths, id), login_name(id)
        if records.find(folder, login) is not None:
            continue
        definition = versions.current(folders)
        if definition is not None and not definition.simple:
            records.write(folder, login, slots.uid_base(definition.slot), id)
            if not folders.unit.exists():  # deleted just now, and its record perhaps before this was written
                records.remove(folder, login)
