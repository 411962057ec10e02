"""The links of one gear as they stand on disk, `ports/links/ab/abcdef`, and what a start makes of them.

One line a link, fields separated by tabs, in the README's order:

    8080    4000    db.example.com                                     127.0.0.1:8080 -> db.example.com:4000
    5432    4001    localhost    192.168.1.1    tcp    60    DB        … and a start waits 60 s for it

Port inside, port outside, host outside; then, where they are not 127.0.0.1, tcp, 0 and nothing: address inside,
protocol, seconds to wait, alias. Port 0 and `-` for the host: it leads nowhere yet. Start hooks import this
module with nothing but the standard library at hand, and wait for it: it stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Link(NamedTuple):
    from_host: str
    from_port: int
    to_host: str
    """empty: nowhere yet"""
    to_port: int
    protocol: str = "tcp"
    wait: int = 0
    alias: str = ""

    @property
    def place(self) -> str:
        return f"{self.from_host}:{self.from_port}" + ("/udp" if self.protocol == "udp" else "")

    @property
    def complete(self) -> bool:
        return bool(self.to_host and self.to_port)


def render(links: Iterable[Link]) -> str:
    return "".join(_line(link) for link in links)


def _line(link: Link) -> str:
    fields = [str(link.from_port), str(link.to_port), link.to_host or "-"]
    more = [link.from_host, link.protocol, str(link.wait), link.alias]
    usual = [LOOPBACK, "tcp", "0", ""]
    while more and more[-1] == usual[len(more) - 1]:
        more.pop()
    return "\t".join([*fields, *more]) + "\n"


def parse(text: str) -> tuple[Link, ...]:
    """Lines that are no links are passed over: an admin may write here too."""
    return tuple(_parsed(text))


def _parsed(text: str) -> Iterator[Link]:
    seen: set[tuple[str, str, int]] = set()
    for line in text.split("\n"):
        fields = line.split("\t")
        try:
            from_port, to_port = int(fields[0]), int(fields[1])
            to_host, from_host, protocol, wait, alias = (
                *fields[2:7],
                *["", LOOPBACK, "tcp", "0", ""][len(fields) - 2 :],
            )
            link = Link(
                from_host or LOOPBACK,
                from_port,
                "" if to_host == "-" else to_host,
                to_port,
                protocol,
                int(wait),
                alias,
            )
        except (ValueError, IndexError):
            continue
        key = (protocol, link.from_host, from_port)
        if _sound(link) and key not in seen:
            seen.add(key)
            yield link


def _sound(link: Link) -> bool:
    """What is written by hand becomes rules of the kernel's, too."""
    return (
        is_ipv4(link.from_host)
        and 1 <= link.from_port <= 65_535
        and 0 <= link.to_port <= 65_535
        and link.protocol in ("tcp", "udp")
        and link.wait >= 0
        and set(link.to_host) <= _HOST
        and set(link.alias) <= _HOST
    )


_HOST = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def is_ipv4(text: str) -> bool:
    numbers = text.split(".")
    return len(numbers) == 4 and all(
        n.isascii() and n.isdigit() and len(n) <= 3 and int(n) <= 255 and str(int(n)) == n for n in numbers
    )


def variables(links: Iterable[Link]) -> dict[str, str]:
    """What a program is told of its links, in the way of Docker's: DB_PORT_5432_TCP=tcp://127.0.0.1:5432 and its
    parts, for the first link of that alias and port; DB_LINKS has all of the alias.

    They name places inside the gear, which stay as they are when a link is led elsewhere.
    """
    found: dict[str, str] = {}
    all_of: dict[str, list[str]] = {}
    for link in links:
        alias = "".join(c if c.isalnum() else "_" for c in link.alias.upper()) or "LINK"
        url = f"{link.protocol}://{link.from_host}:{link.from_port}"
        all_of.setdefault(alias, []).append(url)
        found.setdefault(f"{alias}_PORT", url)
        one = f"{alias}_PORT_{link.from_port}_{link.protocol.upper()}"
        if one not in found:
            found[one] = url
            found[f"{one}_ADDR"] = link.from_host
            found[f"{one}_PORT"] = str(link.from_port)
            found[f"{one}_PROTO"] = link.protocol
    return found | {f"{alias}_LINKS": " ".join(urls) for alias, urls in all_of.items()}
