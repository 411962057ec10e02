"""Finding an image on this host, or having it pulled by a unit of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

from geard.failures import Denied, Failure, NotFound, Unavailable
from geard.host import Host
from geard.host.engine import Engine, Image
from geard.host.storage import Changes, read_text
from geard.images.names import complete_name, pin, pull_key, registry_of
from geard.images.settings import RegistrySettings, permitted, sources

PULL_SECONDS = 6 * 3_600.0

Say = Callable[[str, str], None]


async def bring(host: Host, engine: Engine, reference: str, say: Say, *, fresh: bool = False) -> Image:
    """The image of that name: one that is here already, else (or if `fresh`) the registry's.

    `say(phase, message)` is told of a pull. Raises NotFound, Denied, Unavailable with the registry's reason.
    """
    if not fresh:
        found = await engine.image(reference)
        if found is not None:
            return found
    settings = host.settings.section(RegistrySettings)
    name = complete_name(reference, settings.default)
    say("pulling", f"pulling {name}")
    await pull(host, engine, name)
    found = await engine.image(name)
    if found is None:
        raise Unavailable(f"{name} was pulled and is gone again", hint="is somebody removing images?")
    say("pulled", f"pulled {name}")
    return found


async def bring_pinned(host: Host, engine: Engine, name: str, id: str, digest: str, say: Say) -> Image:
    """The very image `id`, though others may bear its name by now. Raises as `bring`."""
    found = await engine.image(id)
    if found is not None:
        return found
    if digest:
        pinned = pin(complete_name(name, host.settings.section(RegistrySettings).default), digest)
        say("pulling", f"pulling {pinned}")
        await pull(host, engine, pinned)
        found = await engine.image(id)
    if found is None:
        raise NotFound(
            f"the image {id[:12]} of {name} is here no more, and cannot be had again",
            hint="gear update NAME takes the newest image of that name",
        )
    return found


async def pull(host: Host, engine: Engine, name: str) -> None:
    """Pull by the unit that serves everybody who wants this image, from the registry's mirrors first."""
    key = pull_key(f"{engine.name} {name}")
    settings = host.settings.section(RegistrySettings)
    permitted(settings, name)
    order = host.paths.run / "pulls" / key
    reason = order.with_name(f"{key}.failed")

    def write() -> None:
        changes = Changes()
        changes.folder(order.parent, 0o700)
        reason.unlink(missing_ok=True)
        tries = [_try(engine, source, name, settings) for source in sources(settings, name)]
        changes.write(order, json.dumps({"name": name, "tries": tries}), 0o600)

    write()
    unit = f"geard-pull@{key}.service"
    result = await host.systemd.start(unit, wait=PULL_SECONDS)
    if result != "done":
        await host.systemd.reset_failed(unit)
        raise pull_failure(name, read_text(reason) or f"the pull ended with {result!r}")


def _try(engine: Engine, source: str, name: str, settings: RegistrySettings) -> list[list[str]]:
    """Command lines that pull from one place; what a mirror gave bears the name that was asked for in the end."""
    insecure = registry_of(source) in settings.insecure
    argvs = [engine.pull_argv(source, insecure=insecure)]
    return argvs if source == name else [*argvs, *engine.rename_argvs(source, name)]


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
