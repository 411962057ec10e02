"""The rules of links as nft(8) reads them: in a gear's own network namespace, and on its host. Pure, and standard
library only: start hooks stand on this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

TABLE = "geard_links"


class Led(NamedTuple):
    """A place inside a gear, and where it is led now."""

    protocol: str
    from_host: str
    from_port: int
    address: str
    """IPv4; empty where it is led nowhere: the name is not known, or the link not complete"""
    port: int
    here: bool = False
    """the address is this host's own: its rules have to let the gear in there"""

    @property
    def place(self) -> tuple[str, str, int]:
        return self.protocol, self.from_host, self.from_port


def render_inside(led: Sequence[Led]) -> str:
    """The table in the gear's namespace, whole and in place of what there was, in one transaction.

    Only what begins a connection meets it: connections that are there go on as they were led. What comes from
    loopback takes the gear's own address on its way out, or no answer would find back. What is led nowhere is
    refused: 192.168.1.1 must not be somebody else's on the host's network.
    Before -100, where Docker has rules of its own in there (127.0.0.11).
    """
    to, nowhere = _elements_of(led)
    return f"""\
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
    map to {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; {_elements(to)}}}
    set nowhere {{ type inet_proto . ipv4_addr . inet_service; {_elements(nowhere)}}}
    chain output {{
        type nat hook output priority -110; policy accept;
        dnat ip to meta l4proto . ip daddr . th dport map @to
    }}
    chain postrouting {{
        type nat hook postrouting priority 90; policy accept;
        ip saddr 127.0.0.0/8 oifname != "lo" masquerade
    }}
    chain refuse {{
        type filter hook output priority -10; policy accept;
        ct state established,related accept
        meta l4proto tcp meta l4proto . ip daddr . th dport @nowhere reject with tcp reset
        meta l4proto . ip daddr . th dport @nowhere reject with icmp type port-unreachable
    }}
}}
"""


def render_change(led: Sequence[Led]) -> str:
    """The same where the table is there already: its rules stay, so that no hook of the kernel's is taken out and
    put in again, which waits for all processors.
    """
    to, nowhere = _elements_of(led)
    lines = [f"flush map ip {TABLE} to", f"flush set ip {TABLE} nowhere"]
    lines += [f"add element ip {TABLE} to {{ {', '.join(to)} }}"] if to else []
    lines += [f"add element ip {TABLE} nowhere {{ {', '.join(nowhere)} }}"] if nowhere else []
    return "\n".join(lines) + "\n"


def _elements_of(led: Sequence[Led]) -> tuple[list[str], list[str]]:
    to = [f"{_inside(each)} : {each.address} . {each.port}" for each in led if each.address]
    return to, [_inside(each) for each in led if not each.address]


def render_openings(openings: Iterable[tuple[str, Led]]) -> str:
    """The set in the host's table that lets each gear (by its address) reach just these ports of the host itself,
    in place of all that was in it.
    """
    elements = sorted(
        {f"{gear} . {led.address} . {led.protocol} . {led.port}" for gear, led in openings if led.here}
    )
    text = "flush set inet geard links\n"
    return text + (f"add element inet geard links {{ {', '.join(elements)} }}\n" if elements else "")


def _inside(led: Led) -> str:
    return f"{led.protocol} . {led.from_host} . {led.from_port}"


def _elements(items: list[str]) -> str:
    return f"elements = {{ {', '.join(items)} }} " if items else ""
