"""Finding an image on this host, or having it pulled by a unit of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

from geard.failures import Denied, Failure, NotFound, Unavailable
from geard.host import Host
from geard.host.engine import Image
from geard.host.storage import Changes, read_text
from geard.images.names import complete_name, pull_key

PULL_SECONDS = 6 * 3_600.0

Say = Callable[[str, str], None]


async def bring(host: Host, reference: str, say: Say, *, fresh: bool = False) -> Image:
    """The image of that name: one that is here already, else (or if `fresh`) the registry's.

    `say(phase, message)` is told of a pull. Raises NotFound, Denied, Unavailable with the registry's reason.
    """
    if not fresh:
        found = await host.engine.image(reference)
        if found is not None:
            return found
    name = complete_name(reference)
    say("pulling", f"pulling {name}")
    await pull(host, name)
    found = await host.engine.image(name)
    if found is None:
        raise Unavailable(f"{name} was pulled and is gone again", hint="is somebody removing images?")
    say("pulled", f"pulled {name}")
    return found


async def pull(host: Host, name: str) -> None:
    """Pull by the unit that serves everybody who wants this image."""
    key = pull_key(name)
    order = host.paths.run / "pulls" / key
    reason = order.with_name(f"{key}.failed")

    def write() -> None:
        changes = Changes()
        changes.folder(order.parent, 0o700)
        reason.unlink(missing_ok=True)
        changes.write(order, json.dumps({"argv": host.engine.pull_argv(name), "name": name}), 0o600)

    write()
    unit = f"geard-pull@{key}.service"
    result = await host.systemd.start(unit, wait=PULL_SECONDS)
    if result != "done":
        await host.systemd.reset_failed(unit)
        raise pull_failure(name, read_text(reason) or f"the pull ended with {result!r}")


def pull_failure(name: str, words: str) -> Failure:
    """What a registry said no with. The codes' messages are those of the OCI distribution specification."""
    last = words.strip().splitlines()[-1] if words.strip() else "no reason given"
    lower = words.lower()
    if "manifest unknown" in lower or "name unknown" in lower or "repository name not known" in lower:
        return NotFound(f"there is no image {name}: {last}", hint="check the name and the tag")
    if any(no in lower for no in ("unauthorized", "access to the resource is denied", "authentication required")):
        return Denied(
            f"the registry does not hand out {name}: {last}", hint="gear login REGISTRY, or check the name"
        )
    return Unavailable(f"cannot pull {name}: {last}", hint="it is tried again at each start of the gear")
