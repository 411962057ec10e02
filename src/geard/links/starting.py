"""A start with links: they are led, their variables told, and far ends waited for. For gear-prepare, with nothing
but the standard library at hand.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterable

from geard.links.far_ends import as_the_host_has_it, connect, is_here, is_the_host
from geard.links.file import Link, is_ipv4, variables
from geard.links.live import Place, follow, read_links

NFT = "/usr/sbin/nft"
PAUSE_SECONDS = 0.5


def lay_out(place: Place, engine: str, taken: Collection[str]) -> dict[str, str]:
    """Have the links ready for the start; the variables that tell of them, without those whose names are `taken`.

    Raises OSError where the host's rules cannot be changed.
    """
    if follow(place, load, starting=engine) is None:
        return {}
    return {name: value for name, value in variables(read_links(place)).items() if name not in taken}


def load(rules: str) -> None:
    """Of the host. Raises OSError."""
    finished = subprocess.run([NFT, "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if finished.returncode:
        raise OSError(
            f"the kernel does not take the rules: {(finished.stderr.strip() or 'no reason').splitlines()[0]}"
        )


def wait(place: Place, engine: str, alive: Callable[[], None], probe: Callable[[str, int], str] = connect) -> str:
    """Until all far ends that are to be waited for answer; what is missing when the time is over, else nothing.

    Looked at from the host, since the gear's own namespace is not there yet. `alive` is called now and then.
    """
    began = time.monotonic()
    if circle := waits_in_circle(place, read_links(place)):
        return f"its start would wait for itself: {' -> '.join(circle)}; gear links {place.id} shows for what"
    answered = set[tuple[str, int]]()
    while True:
        now = follow(place, load, starting=engine)
        led = {each.place: each for each in now.led} if now is not None else {}
        missing = False
        for link in read_links(place) if now is not None else ():
            to = led.get((link.protocol, link.from_host, link.from_port))
            if not link.wait or (to is not None and (to.address, to.port) in answered):
                continue
            state = "its address is not known"
            if to is not None and to.address:
                state = probe(as_the_host_has_it(to), to.port)
            if state == "reachable" and to is not None:
                answered.add((to.address, to.port))
            elif time.monotonic() - began >= link.wait:
                return f"it waited {link.wait} s for {link.to_host}:{link.to_port} ({link.place} inside): {state}"
            else:
                missing = True
        if not missing:
            return ""
        alive()
        time.sleep(PAUSE_SECONDS)


def waits_in_circle(place: Place, links: Iterable[Link]) -> list[str]:
    """Gears of this host each of which waits for the next before it starts, and the last for this one; empty where
    there is no such circle. `links` are those this gear is to have.
    """
    return find_circle(place.id, lambda id: _awaited(place._replace(id=id), links if id == place.id else None))


def find_circle(first: str, awaited: Callable[[str], Iterable[str]]) -> list[str]:
    """A way from `first` back to itself along `awaited`. Pure."""
    ways, seen = [[first]], set[str]()
    while ways:
        way = ways.pop()
        for id in awaited(way[-1]):
            if id == first:
                return [*way, first]
            if id not in seen:
                seen.add(id)
                ways.append([*way, id])
    return []


def _awaited(place: Place, links: Iterable[Link] | None) -> Iterable[str]:
    """The gears of this host whose published ports it waits for."""
    known = read_links(place) if links is None else links
    for link in known:
        if link.wait and link.complete and _is_this_host(link.to_host):
            number = link.to_port
            try:
                unit = os.readlink(f"{place.base}/ports/interfaces/1/{number // 100}/{number}")
            except OSError:
                continue
            yield os.path.basename(unit).removeprefix("ctr-").removesuffix(".service")


def _is_this_host(host: str) -> bool:
    """As far as it can be told without asking a name server."""
    return is_the_host(host) or host == os.uname().nodename or (is_ipv4(host) and is_here(host))
