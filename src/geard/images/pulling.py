"""Finding an image on this host, or having it pulled by a unit of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from geard.dispatch.peers import Way
from geard.failures import Denied, Failure, Invalid, NotFound, Unavailable
from geard.host import Host
from geard.host.engine import Engine, Image
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.images import peers
from geard.images.names import complete_name, pin, pull_key, registry_of
from geard.images.settings import ImageSettings, RegistrySettings, permitted, sources
from geard.images.underway import read

PULL_SECONDS = 6 * 3_600.0
SAY_SECONDS = 5
"""how often somebody who waits for a pull is told that it goes on"""

Say = Callable[[str, str], None]


async def bring(
    host: Host,
    engine: Engine,
    reference: str,
    say: Say,
    *,
    fresh: bool = False,
    ask_peers: bool | None = None,
    request: str = "",
) -> Image:
    """The image of that name: one that is here already, else (or if `fresh`) the registry's. Peers are asked
    before it, unless the newest is wanted, or as `ask_peers` says.

    `say(phase, message)` is told of a pull. Raises NotFound, Denied, Unavailable with the registry's reason.
    """
    if not fresh:
        found = await _here(host, engine, reference)
        if found is not None:
            return found
    settings = host.settings.section(RegistrySettings)
    name = complete_name(reference, settings.default)
    say("pulling", f"pulling {name}")
    await pull(host, engine, name, say, request, ask_peers=not fresh if ask_peers is None else ask_peers)
    found = await _here(host, engine, name)
    if found is None:
        raise Unavailable(f"{name} was pulled and is gone again", hint="is somebody removing images?")
    say("pulled", f"pulled {name}")
    return found


async def _here(host: Host, engine: Engine, reference: str) -> Image | None:
    """One that came from a peer is known by its registry's digest too, which its engine has never seen."""
    found = await engine.image(reference)
    digest = reference.partition("@")[2]
    if found is None and digest and (id := await asyncio.to_thread(peers.id_of, host.paths, digest)):
        found = await engine.image(id)
    if found is None:
        return None
    known = await asyncio.to_thread(peers.origin, host.paths, found.id)
    return found if known is None else replace(found, digest=known.digest)


async def check_obtainable(host: Host, engine: Engine, reference: str) -> None:
    """Raises Denied where that image is not here, and the admin lets it not be pulled. The engine is asked only
    before a refusal.
    """
    settings = host.settings.section(RegistrySettings)
    if not settings.allow or engine.known(reference) is not None:
        return
    try:
        permitted(settings, complete_name(reference, settings.default))
    except Denied:
        if await engine.image(reference) is None:
            raise


async def bring_pinned(
    host: Host, engine: Engine, name: str, id: str, digest: str, say: Say, *, request: str = ""
) -> Image:
    """The very image `id`, though others may bear its name by now. Raises as `bring`."""
    found = await engine.image(id)
    if found is not None:
        return found
    if digest:
        pinned = pin(complete_name(name, host.settings.section(RegistrySettings).default), digest)
        say("pulling", f"pulling {pinned}")
        await pull(host, engine, pinned, say, request, ask_peers=True)
        found = await engine.image(id)
    if found is None:
        raise NotFound(
            f"the image {id[:12]} of {name} is here no more, and cannot be had again",
            hint="gear update NAME takes the newest image of that name",
        )
    return found


async def pull(
    host: Host, engine: Engine, name: str, say: Say, request: str = "", *, ask_peers: bool = False
) -> None:
    """Pull by the unit that serves everybody who wants this image, from peers and mirrors first. Its events name
    the `request` that was the last to want it before it began.
    """
    key = pull_key(f"{engine.name} {name}")
    settings = host.settings.section(RegistrySettings)
    permitted(settings, name)
    order = host.paths.run / "pulls" / key
    reason = order.with_name(f"{key}.failed")

    offers = await _offers(host, engine, name) if ask_peers else []

    def write() -> None:
        changes = Changes()
        changes.folder(order.parent, 0o700)
        reason.unlink(missing_ok=True)
        tries = [_try_of_peer(host.paths, engine, each, way, name, order) for each, way in peers.ways(offers)]
        tries += [
            {"argvs": _try(engine, source, name, settings), "stall": settings.stall}
            for source in sources(settings, name)
        ]
        told = {"name": name, "engine": engine.name, "tries": tries, "request": request}
        changes.write(order, json.dumps(told), 0o600)

    write()
    unit = f"geard-pull@{key}.service"
    result = await _started(host, unit, name, order.with_name(f"{key}.bytes"), say)
    if result != "done":
        await host.systemd.reset_failed(unit)
        raise pull_failure(name, read_text(reason) or f"the pull ended with {result!r}")


async def _offers(host: Host, engine: Engine, name: str) -> list[peers.Offer]:
    named = host.settings.section(ImageSettings).peers
    # dockerd alone says whom it trusts, in /etc/docker, for everybody on the machine.
    return await peers.look_up(name, named) if named and engine.name == "podman" else []


def _try_of_peer(
    paths: Paths, engine: Engine, each: peers.Offer, way: Way, name: str, order: Path
) -> dict[str, object]:
    """As `_try`. The image is named by its id: what a peer hands out instead never bears the name."""
    folder = order.with_name(f"{order.name}.{each.peer}")
    peers.lay_out(folder, way)
    peers.keep_origin(paths, each)
    source = f"{way.address}:{way.port}/by-id/{each.id}:latest"
    argvs = [engine.pull_argv(source, certificates=str(folder)), *engine.name_argvs(each.id, source, name)]
    return {
        "argvs": argvs,
        "undo": engine.forget_argv(source),
        "remove": str(folder),
        "stall": peers.STALL_SECONDS,
        # Go believes these alone then, and no public authority.
        "environment": {"SSL_CERT_FILE": f"{folder}/ca.crt", "SSL_CERT_DIR": "/nonexistent"},
        "from": each.peer,
    }


def _try(engine: Engine, source: str, name: str, settings: RegistrySettings) -> list[list[str]]:
    """Command lines that pull from one place; what a mirror gave bears the name that was asked for in the end."""
    insecure = registry_of(source) in settings.insecure
    argvs = [engine.pull_argv(source, insecure=insecure)]
    return argvs if source == name else [*argvs, *engine.rename_argvs(source, name)]


async def _started(host: Host, unit: str, name: str, bytes_of: Path, say: Say) -> str:
    """Start a pull and wait for it, saying now and then how far it is."""
    job = asyncio.ensure_future(host.systemd.start(unit, wait=PULL_SECONDS))
    try:
        for seconds in itertools.count(SAY_SECONDS, SAY_SECONDS):
            done, _ = await asyncio.wait([job], timeout=SAY_SECONDS)
            if done:
                break
            far = await asyncio.to_thread(read, bytes_of)
            say("pulling", f"still pulling {name} after {seconds} s: {far.text() if far else 'not begun yet'}")
        return await job
    finally:
        job.cancel()


async def awaited(host: Host, engine: Engine, reference: str) -> str:
    """Why an image is not here yet, in words for the status of a gear that waits for it."""
    try:
        name = complete_name(reference, host.settings.section(RegistrySettings).default)
    except Invalid as mistake:  # in geard.toml: that is why, and no reason to show no status
        return mistake.message
    key = pull_key(f"{engine.name} {name}")
    unit = f"geard-pull@{key}.service"
    state = await host.systemd.properties(unit)
    if state["ActiveState"] == "activating":
        far = await asyncio.to_thread(read, host.paths.run / "pulls" / f"{key}.bytes")
        return f"{name} is being pulled{', ' + far.text() if far else ''}: journalctl -fu {unit}"
    reason = read_text(host.paths.run / "pulls" / f"{key}.failed")
    if reason is None:
        return f"{name} is not here yet; it is pulled when the gear starts"
    failure = pull_failure(name, reason)
    return f"{failure.message}; {failure.hint}"


# What is in a registry's or the engine's words, and what would help then. {registry} is the image's.
_HINTS = (
    (
        ("http response to https client", "does not look like a tls handshake"),
        'a registry without TLS: insecure = ["{registry}"] under [registries] in /etc/geard/geard.toml',
    ),
    (
        ("x509:", "certificate"),
        "the certificate of its CA belongs into /etc/containers/certs.d/{registry}/, as NAME.crt",
    ),
    (
        ("dial tcp", "no such host", "i/o timeout", "no route to host", "network is unreachable"),
        "is the network up? A registry nearer by: default or mirrors under [registries] in /etc/geard/geard.toml",
    ),
    (("no space left",), "df -h /var/lib/containers /var/tmp; gear prune --days 0"),
    (("toomanyrequests", "too many requests"), "gear login {registry}, or a mirror: [registries] in geard.toml"),
)


def pull_failure(name: str, words: str) -> Failure:
    """What a registry said no with. The codes' messages are those of the OCI distribution specification."""
    last = words.strip().splitlines()[-1] if words.strip() else "no reason given"
    last = last.removeprefix("Error: ")
    lower = words.lower()
    if "manifest unknown" in lower or "name unknown" in lower or "repository name not known" in lower:
        return NotFound(f"there is no image {name}: {last}", hint="check the name and the tag")
    if any(no in lower for no in ("unauthorized", "access to the resource is denied", "authentication required")):
        return Denied(
            f"the registry does not hand out {name}: {last}",
            hint=f"gear login {registry_of(name)}, or check the name",
        )
    known = (hint for parts, hint in _HINTS if any(part in lower for part in parts))
    hint = next(known, "a gear tries again by itself; gear pull shows what comes of it now")
    return Unavailable(f"cannot pull {name}: {last}", hint=hint.format(registry=registry_of(name)))
