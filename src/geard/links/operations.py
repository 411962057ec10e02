"""Links, made and looked at."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import msgspec

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Invalid, no_such_gear
from geard.host import Host
from geard.host.storage import Changes, locked
from geard.identifiers import bucket, check_id
from geard.links import live, netns, store
from geard.links.far_ends import PROBE_SECONDS, as_the_host_has_it, lead, look_up, names_of, outcome
from geard.links.file import Link
from geard.links.forms import changed_links, check_change, from_file
from geard.links.requests import (
    ContainerLinks,
    FarEnd,
    GetLinks,
    LinkContainer,
    LinkContainers,
    LinkedContainer,
    LinkedContainers,
    Links,
    LinkSeen,
)
from geard.links.rules import Led
from geard.links.strays import cut_gone
from geard.links.waiting import check_waits

SETTLE_SECONDS = 90.0


@operation
async def link_containers(request: LinkContainers, work: Work) -> LinkedContainers:
    return await _link(request.links, work)


@operation
async def link_container(request: LinkContainer, work: Work) -> LinkedContainers:
    asked = ContainerLinks(
        id=request.id, network_links=request.network_links, add=request.add, remove=request.remove
    )
    return await _link((asked,), work)


async def _link(asked: tuple[ContainerLinks, ...], work: Work) -> LinkedContainers:
    if not asked:
        raise Invalid("no gear is named", hint='{"Links": [{"Id": …, "NetworkLinks": […]}]}')
    for each in asked:
        check_id(each.id)
        check_change(each)
    if len({each.id for each in asked}) < len(asked):
        raise Invalid("a gear is named twice")
    linked = await work.on_disk(_keep, work.host, asked)

    async def bring_into_force() -> None:
        for gear in linked:
            await _follow(work, gear)

    work.then(bring_into_force)
    return LinkedContainers(links=linked)


def _keep(host: Host, asked: tuple[ContainerLinks, ...]) -> tuple[LinkedContainer, ...]:
    for each in asked:  # all or none: what can be refused is, before the first is changed
        if not _unit(host, each.id).exists():
            raise no_such_gear(each.id)
        check_waits(host.paths, each.id, changed_links(store.load(host.paths, each.id), each))
    with Changes() as changes:
        return tuple(_keep_one(host, changes, each) for each in asked)


def _keep_one(host: Host, changes: Changes, asked: ContainerLinks) -> LinkedContainer:
    with locked(_unit(host, asked.id).with_name(asked.id)):
        if not _unit(host, asked.id).exists():
            raise no_such_gear(asked.id)
        links = changed_links(store.load(host.paths, asked.id), asked)
        changed = store.keep(host.paths, changes, asked.id, links)
    return LinkedContainer(id=asked.id, network_links=tuple(map(from_file, links)), changed=changed)


def _unit(host: Host, id: str) -> Path:
    return host.paths.base / "units" / bucket(id) / f"ctr-{id}.service"


async def _follow(work: Work, gear: LinkedContainer) -> None:
    """Done again where nothing has changed: whoever changed it may have been killed before this."""
    what = "are changed" if gear.changed else "are as they were"
    running = await _follow_now(work, gear.id)
    if not running and work.lasting:
        # A start may have looked for links before there were any, and run since.
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await _until_started(work.host, f"ctr-{gear.id}.service")
        running = await _follow_now(work, gear.id)
    work.conclude(
        "linked",
        f"the links of {gear.id} {what}" + ("" if running else "; it does not run now"),
        gear.id,
    )
    if running and gear.changed:
        ended = await asyncio.to_thread(cut_gone, store.place(work.host.paths, gear.id))
        if ended:
            work.say("cut", f"{ended} connections of {gear.id} to far ends that are gone are ended", gear.id)


async def _until_started(host: Host, unit: str) -> None:
    for pause in repeat(0.2):
        if (await host.systemd.state(unit)).active != "activating":
            return
        await asyncio.sleep(pause)


async def _follow_now(work: Work, id: str) -> bool:
    def follow() -> bool:
        store.follow(work.host, id)
        return bool(live.process(store.place(work.host.paths, id)))

    return await asyncio.to_thread(follow)  # not among the disk's threads: a name server may be slow


@operation
async def get_links(request: GetLinks, work: Work) -> Links:
    host, place = work.host, store.place(work.host.paths, request.id)
    if not _unit(host, request.id).exists():
        raise no_such_gear(request.id)

    def look() -> tuple[tuple[Link, ...], dict[tuple[str, str, int], Led], int]:
        links, now = store.load(host.paths, request.id), live.standing(place)
        pid = live.process(place)
        if now is None or not pid:
            led = lead(links, look_up(names_of(links), PROBE_SECONDS), live.gateway(place), ())
        else:
            led = list(now.led)
        return links, {each.place: each for each in led}, pid

    links, led, pid = await asyncio.to_thread(look)
    states = await asyncio.gather(
        *(
            _state(link, led.get((link.protocol, link.from_host, link.from_port)), pid, request.probe)
            for link in links
        )
    )
    seen: list[LinkSeen] = []
    for link, state in zip(links, states, strict=True):
        to = led.get((link.protocol, link.from_host, link.from_port))
        seen.append(
            LinkSeen(
                **msgspec.structs.asdict(from_file(link)),
                address=to.address if to is not None else "",
                state=state,
                in_force=bool(pid) and to is not None and bool(to.address),
            )
        )
    return Links(id=request.id, links=tuple(seen), running=bool(pid))


async def _state(link: Link, to: Led | None, pid: int, probe: bool) -> FarEnd:
    """Asked from inside the gear, by the link itself, where it runs; else from its host."""
    if not link.complete:
        return "incomplete"
    if to is None or not to.address:
        return "unresolved"
    if not probe or link.protocol != "tcp":
        return "unknown"
    where = (link.from_host, link.from_port) if pid else (as_the_host_has_it(to), to.port)
    try:
        line = await asyncio.to_thread(netns.inside, pid, _socket) if pid else _socket()
    except OSError:
        return "unknown"
    with line:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await asyncio.get_running_loop().sock_connect(line, where)
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return "refused" if outcome(error.errno or 0) == "refused" else "no answer"
    return "reachable"


def _socket() -> socket.socket:
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    line.setblocking(False)
    return line
