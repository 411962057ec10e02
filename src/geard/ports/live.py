"""Ports that are changed while their gear runs: rules of geard's own before the engine's, until its next start.

The engine publishes ports when it starts a container, and cannot be told others later. So what differs by now is
a file for each gear, `/run/geard/ports/ctr-ID`, and one nftables table is made of all those files:

    container 3f9c…                            the run it is about: what /run/geard/gears/ctr-ID/cid says
    engine 8080:4000                           what the engine published: these are the gear's until it ends
    withdrawn tcp 4000                         the engine leads it on, and it is refused unless a `to` says else
    to tcp 9000 8080 10.183.0.10 fd67::a *     a port of the host, of the gear, its addresses, the host's address

Only what begins a connection meets these rules: connections that are there go on. The next start publishes what
the definition says by itself; the file and its rules are gone by then (`gear-remap`, run by the gear's hooks).
Standard library only: the hook stands on this module.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TABLE = "geard_ports"


@dataclass(frozen=True)
class Lead:
    """A port of the host that leads to a gear."""

    protocol: str
    external: int
    internal: int
    ipv4: str
    ipv6: str
    """the gear's addresses; `-` for none"""
    address: str
    """the host's; `*` for all"""


@dataclass(frozen=True)
class Remapped:
    """What differs from what the engine published when a gear was started."""

    container: str
    engine: tuple[str, ...]
    """the pairs that the engine published"""
    withdrawn: tuple[tuple[str, int], ...]
    """protocol and port of those that hold no more as they are"""
    leads: tuple[Lead, ...]


def parse(text: str) -> Remapped:
    """Raises ValueError."""
    container, engine, withdrawn, leads = "", list[str](), list[tuple[str, int]](), list[Lead]()
    for line in text.splitlines():
        kind, *words = line.split(" ")
        if kind == "container":
            (container,) = words
        elif kind == "engine":
            engine += words
        elif kind == "withdrawn":
            protocol, port = words
            withdrawn.append((protocol, int(port)))
        elif kind == "to":
            protocol, external, internal, ipv4, ipv6, address = words
            leads.append(Lead(protocol, int(external), int(internal), ipv4, ipv6, address))
    return Remapped(container, tuple(engine), tuple(withdrawn), tuple(leads))


def render_file(remapped: Remapped) -> str:
    lines = [f"container {remapped.container}"]
    lines += [f"engine {pair}" for pair in remapped.engine]
    lines += [f"withdrawn {protocol} {port}" for protocol, port in remapped.withdrawn]
    lines += [
        f"to {to.protocol} {to.external} {to.internal} {to.ipv4} {to.ipv6} {to.address}" for to in remapped.leads
    ]
    return "\n".join(lines) + "\n"


def render_table(all_of_them: Iterable[Remapped]) -> str:
    """The table as nft(8) reads it, in place of what there was; none at all where nothing differs.

    Its chains come before an engine's (priority -110, theirs -100), and the first that translates a connection
    decides. A local client's packets get the bridge's address, as from an engine: a gear could not answer
    127.0.0.1. So do another gear's, whose answer would go past the host otherwise. ::1 cannot be led anywhere.
    """
    found = tuple(all_of_them)
    text = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    if not found:
        return text
    leads = [lead for remapped in found for lead in remapped.leads]
    withdrawn = sorted({f"{protocol} . {port}" for remapped in found for protocol, port in remapped.withdrawn})
    all4, all6, at4, at6 = list[str](), list[str](), list[str](), list[str]()
    for to in leads:
        for family, gear, everywhere, somewhere in ((4, to.ipv4, all4, at4), (6, to.ipv6, all6, at6)):
            if gear == "-":
                continue
            if to.address in ("*", "0.0.0.0" if family == 4 else "::"):
                everywhere.append(f"{to.protocol} . {to.external} : {gear} . {to.internal}")
            elif (":" in to.address) == (family == 6) and to.address not in ("*", "0.0.0.0", "::"):
                somewhere.append(f"{to.protocol} . {to.address} . {to.external} : {gear} . {to.internal}")
    return f"""{text}table inet {TABLE} {{
    map all4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {_elements(all4)}}}
    map all6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {_elements(all6)}}}
    map at4 {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; {_elements(at4)}}}
    map at6 {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; {_elements(at6)}}}
    set withdrawn {{ type inet_proto . inet_service; {_elements(withdrawn)}}}
    chain lead {{
        fib daddr type != local return
        iifname {{ "geard0", "geard1" }} meta mark set meta mark or 0x20000000
        meta nfproto ipv4 dnat ip to meta l4proto . ip daddr . th dport map @at4
        meta nfproto ipv4 dnat ip to meta l4proto . th dport map @all4
        ip6 daddr != ::1 dnat ip6 to meta l4proto . ip6 daddr . th dport map @at6
        ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @all6
        meta l4proto tcp meta l4proto . th dport @withdrawn reject with tcp reset
        meta l4proto . th dport @withdrawn reject with icmpx port-unreachable
    }}
    chain prerouting {{
        type nat hook prerouting priority -110; policy accept;
        jump lead
    }}
    chain output {{
        type nat hook output priority -110; policy accept;
        jump lead
    }}
    chain postrouting {{
        type nat hook postrouting priority 90; policy accept;
        oifname != {{ "geard0", "geard1" }} accept
        ct status dnat ip saddr 127.0.0.0/8 masquerade
        ct status dnat meta mark & 0x20000000 != 0 masquerade
    }}
}}
"""


def _elements(items: list[str]) -> str:
    return f"elements = {{ {', '.join(items)} }} " if items else ""


def read(run: str, name: str) -> Remapped | None:
    """What differs for a gear that runs; None where nothing does, or the run it was about has ended."""
    try:
        with open(f"{run}/ports/{name}", encoding="ascii") as file:
            found = parse(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return found if found.container and found.container == container(run, name) else None


def container(run: str, name: str) -> str:
    """The engine's id of the container that was started last, as the engine wrote it down; empty for none."""
    try:
        with open(f"{run}/gears/{name}/cid", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def change(run: str, name: str, remapped: Remapped | None, load: Callable[[str], None]) -> None:
    """Write down what differs for one gear (None: nothing), and have the rules made of all of them loaded.

    Where the gear was started anew meanwhile this is found here, or by the start's own hook: that removes the
    file after it took `cid` away, this looks at `cid` after it has written the file.
    """
    with _locked(run) as folder:
        path = f"{folder}/{name}"
        if remapped is not None:
            with open(f"{path}.tmp", "w", encoding="ascii") as file:
                file.write(render_file(remapped))
            os.rename(f"{path}.tmp", path)
        elif os.path.exists(path):
            os.unlink(path)
        load(render_table(_all(run, folder)))


def _all(run: str, folder: str) -> Iterator[Remapped]:
    for name in sorted(os.listdir(folder)):
        if name.endswith(".tmp"):
            continue
        found = read(run, name)
        if found is not None:
            yield found
        else:
            os.unlink(f"{folder}/{name}")


@contextmanager
def _locked(run: str) -> Generator[str]:
    folder = f"{run}/ports"
    os.makedirs(folder, mode=0o755, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(fd)
