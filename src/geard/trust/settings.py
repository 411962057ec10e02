"""Where the agent listens for other machines: nowhere, unless an admin says so."""

from __future__ import annotations

import ipaddress
from typing import ClassVar

from geard.failures import Invalid
from geard.identifiers import DEFAULT_PORT, parse_place
from geard.settings import Section


class AgentSettings(Section):
    key: ClassVar[str] = "agent"
    listen: tuple[str, ...] = ()
    """ADDRESS[:PORT] each, for TLS; 0.0.0.0 and [::] are all addresses but loopback's"""
    names: tuple[str, ...] = ()
    """further names and addresses that other machines know this one by: its certificate has them"""

    def check(self) -> None:
        for text in self.listen:
            parse_listen(text)
        for text in self.names:
            parse_name(text)


def parse_listen(text: str) -> tuple[str, int]:
    """An address and a port. Raises Invalid."""
    bare = text if ":" not in text or text.startswith("[") or text.count(":") == 1 else f"[{text}]"
    try:
        place = parse_place(bare)
        address = ipaddress.ip_address(place.host.strip("[]"))
    except (Invalid, ValueError):
        raise Invalid(
            f"listen: {text!r} is no address to listen on", hint=f'such as "192.0.2.7:{DEFAULT_PORT}" or "[::]"'
        ) from None
    return str(address), place.port


def parse_name(text: str) -> str:
    """A name or an address that others know this machine by, without a port. Raises Invalid."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        if ":" not in text and not text.startswith("[") and not parse_place(text).local:
            return text.lower()
    except Invalid:
        pass
    raise Invalid(f"names: {text!r} is no name or address of a machine", hint='such as "h1.example"')
