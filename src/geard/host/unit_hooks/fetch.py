#!/usr/bin/python3 -IS
"""One HTTP request to somebody else's machine, made as the user nobody; geard/host/fetch.py says why.

    gear-fetch < ORDER      JSON in, JSON out; exit status 1 and a line on stderr where it cannot be done

With Raw in the order the body alone goes to stdout, as it comes, and any status but 2xx is a failure.

An order has Method, Url, Headers, Body (base64), Allow (networks that are reached although they are not public),
Redirects (how many are followed), Limit (bytes of the answer's body) and Seconds (for all of it). The outcome has
Status, Reason, RetryAfter and Body (base64). Nothing of it stands on a command line, which is everybody's to read.

A name is resolved once. Each address is checked before it is dialled, and the one that was checked is dialled; so
is each redirect's. No proxy is asked.
"""

# ruff: noqa: PLC0415 - geard loads this file for what it decides, and has no need of http.client, which takes 7 ms
from __future__ import annotations

import base64
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit

if TYPE_CHECKING:
    import http.client

CONNECT_SECONDS = 10
URL_LIMIT = 2_000
NOBODY = 65_534
PIECE = 65_536
AGENT_PORT = 43_273

_IPV4_IN_IPV6 = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96")))  # mapped; NAT64 (RFC 6052)
_UNICAST = ipaddress.ip_network("2000::/3")
# Not public whatever this Python's ipaddress says: protocol assignments, the 6to4 relay and its tunnels, examples.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "3fff::/20")))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def main() -> int:
    import http.client

    order = json.load(sys.stdin)
    allowed = [ipaddress.ip_network(text) for text in order["Allow"]]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(order["Seconds"])
    body = base64.b64decode(order["Body"])
    try:
        answer = _follow(order["Method"], order["Url"], order["Headers"], body, allowed, order["Redirects"])
        limit = order["Limit"]
        if order.get("Raw"):
            return _pass_on(answer, limit)
        found = answer.read(limit + 1) if limit else b""
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.exit(_printable(str(error) or type(error).__name__))
    if len(found) > limit:
        sys.exit(f"it is longer than {limit} bytes")
    outcome = {
        "Status": answer.status,
        "Reason": _printable(answer.reason),
        "RetryAfter": answer.headers.get("Retry-After", ""),
        "Body": base64.b64encode(found).decode(),
    }
    json.dump(outcome, sys.stdout)
    return 0


def _pass_on(answer: http.client.HTTPResponse, limit: int) -> int:
    if not 200 <= answer.status < 300:
        raise ValueError(f"the server answered {answer.status} {answer.reason}")
    while piece := answer.read(PIECE):
        limit -= len(piece)
        if limit < 0:
            raise ValueError("it is longer than it may be")
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def _too_long(number: int, frame: object) -> NoReturn:
    sys.exit("it took too long")


def parse_url(text: str) -> SplitResult:
    """Raises ValueError, with what is wrong, for what is no plain http or https URL."""
    if len(text) > URL_LIMIT:
        raise ValueError(f"a URL of more than {URL_LIMIT} characters")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("a URL has no blanks, backslashes, control characters or letters beyond ASCII")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL begins with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("a URL with a user or a password in it")
    if port_of(parts) < 1024 and port_of(parts) not in (80, 443):
        raise ValueError(f"port {port_of(parts)} is no port of a web server: 80, 443, or 1024 and above")
    return parts


def port_of(parts: SplitResult) -> int:
    """Raises ValueError."""
    if parts.port is not None:
        return parts.port
    return 443 if parts.scheme == "https" else 80


def carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else the address itself."""
    if any(address in network for network in _IPV4_IN_IPV6):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    address = carried(address)
    if address.version == 6 and address not in _UNICAST:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def refusal(address: Address, port: int, allowed: list[Network], *, own: bool) -> str:
    """Why nothing may be asked there, or nothing; `own` is whether this machine itself has the address."""
    address = carried(address)
    if own and port == AGENT_PORT:
        return f"{address} port {port} is this machine's agent"
    if not is_public(address) and not any(address in network for network in allowed):
        return f"{address} is not a public address"
    return ""


def _follow(
    method: str, url: str, headers: dict[str, str], body: bytes, allowed: list[Network], redirects: int
) -> http.client.HTTPResponse:
    parts = parse_url(url)
    for _ in range(redirects + 1):
        answer = _ask(method, parts, headers, body, allowed)
        if not redirects or answer.status not in (301, 302, 303, 307, 308):
            return answer
        following = parse_url(urljoin(parts.geturl(), answer.headers.get("Location", "")))
        if parts.scheme == "https" and following.scheme != "https":
            raise ValueError("it leads from https to http")
        parts = following
    raise ValueError(f"more than {redirects} redirects")


def _ask(
    method: str, parts: SplitResult, headers: dict[str, str], body: bytes, allowed: list[Network]
) -> http.client.HTTPResponse:
    host, port = parts.hostname or "", port_of(parts)
    named = f"[{host}]" if ":" in host else host
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    told = {**headers, "Host": named if parts.port is None else f"{named}:{port}"}
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    connection.sock = dial(host, port, allowed, tls=parts.scheme == "https")
    connection.request(method, target, body=body or None, headers=told)
    return connection.getresponse()


def dial(host: str, port: int, allowed: list[Network], *, tls: bool = False) -> socket.socket:
    """A connection to an address that may be asked. Raises ValueError where there is none, or none answers."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host} cannot be resolved: {getattr(error, 'strerror', error)}") from None
    why = f"{host} has no address"
    for family, kind, protocol, _, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if refused := refusal(address, port, allowed, own=_is_own(address, where)):
            why = refused
            continue
        line = socket.socket(family, kind, protocol)
        line.settimeout(CONNECT_SECONDS)
        try:
            line.connect(where)
            if tls:
                return ssl.create_default_context().wrap_socket(line, server_hostname=host)
            return line
        except OSError as error:
            line.close()
            why = f"{address} does not answer: {error.strerror or error}"
    raise ValueError(why)


def _is_own(address: Address, where: tuple[object, ...]) -> bool:
    """Whether this machine has that address: only one's own can be bound to, without any right (bind(2))."""
    address = carried(address)
    family, there = (socket.AF_INET6, where) if address.version == 6 else (socket.AF_INET, (str(address), 0))
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((there[0], 0, *there[2:]))
        except OSError:
            return False
    return True


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


if __name__ == "__main__":
    sys.exit(main())
