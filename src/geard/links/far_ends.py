"""What a host knows of the far ends of links: their addresses, and whether anything answers there. Standard
library only, and with a deadline: a name server that says nothing must not hold up a start for long.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterable, Mapping

from geard.links.file import Link, is_ipv4
from geard.links.rules import Led

RESOLVE_SECONDS = 5.0
PROBE_SECONDS = 2.0

Addresses = Mapping[str, tuple[str, ...]]
"""IPv4 addresses of names; a name that is not known is not there"""


def is_the_host(name: str) -> bool:
    return name == "localhost" or (name.startswith("127.") and is_ipv4(name))


def names_of(links: Iterable[Link]) -> set[str]:
    """Those that have to be looked up."""
    hosts = {link.to_host for link in links if link.complete}
    return {host for host in hosts if not is_ipv4(host) and not is_the_host(host)}


def look_up(names: Iterable[str], seconds: float = RESOLVE_SECONDS) -> dict[str, tuple[str, ...]]:
    """The addresses of names as the host resolves them, all at once."""
    found: dict[str, tuple[str, ...]] = {}

    def ask(name: str) -> None:
        try:
            answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return
        found[name] = tuple(sorted({str(answer[4][0]) for answer in answers}))

    asking = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in asking:
        thread.start()
    end = time.monotonic() + seconds
    for thread in asking:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)


def lead(links: Iterable[Link], known: Addresses, gateway: str, before: Iterable[Led]) -> list[Led]:
    """Where each link leads now. `localhost` is the host, which its gears find at their `gateway`; of several
    addresses the one it has stays, and so does it while the name cannot be resolved.
    """
    was = {(*led.place, led.port): led.address for led in before if not led.here}
    return [_led(link, known, gateway, was) for link in links]


def _led(link: Link, known: Addresses, gateway: str, was: Mapping[tuple[str, str, int, int], str]) -> Led:
    address = ""
    if link.complete and is_the_host(link.to_host):
        address = gateway
    elif link.complete and is_ipv4(link.to_host):
        address = link.to_host
    elif link.complete:
        had = was.get((link.protocol, link.from_host, link.from_port, link.to_port), "")
        choice = known.get(link.to_host, ())
        address = had if had and (not choice or had in choice) else next(iter(choice), "")
    if address.startswith("127."):  # what /etc/hosts says of this host's own name
        address = gateway
    here = bool(address) and (address == gateway or is_here(address))
    return Led(link.protocol, link.from_host, link.from_port, address, link.to_port if address else 0, here)


def is_here(address: str) -> bool:
    """Whether it is an address of this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def as_the_host_has_it(led: Led) -> str:
    """The address at which the host itself finds a far end: while no gear runs, their bridge is not there."""
    return "127.0.0.1" if led.here and not is_here(led.address) else led.address


def connect(address: str, port: int, seconds: float = PROBE_SECONDS) -> str:
    """Whether something answers on a TCP port: `reachable`, `refused`, `no answer`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.settimeout(seconds)
        return outcome(line.connect_ex((address, port)))


def outcome(error: int) -> str:
    """In words, what connect(2) ended with."""
    if not error:
        return "reachable"
    return "refused" if error in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH) else "no answer"
