#!/usr/bin/python3 -IS
"""Fetch a URL as the user nobody, and print it; see geard/host/fetch.py for why.

    gear-fetch URL LIMIT      at most LIMIT bytes

Every address a name resolves to is checked before it is dialled, and the one that was checked is dialled; each
redirect is checked the same way.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import sys
import tomllib
from urllib.parse import urljoin, urlsplit

SETTINGS = "/etc/geard/geard.toml"
SECONDS = 10
REDIRECTS = 5


def main(url: str, limit: int) -> int:
    allowed = _allowed()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            sys.exit("only http and https are fetched")
        answer = _get(
            parts.scheme,
            parts.hostname,
            parts.port,
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            allowed,
        )
        if answer.status in (301, 302, 303, 307, 308):
            url = urljoin(url, answer.headers.get("Location", ""))
            continue
        if not 200 <= answer.status < 300:
            sys.exit(f"the server answered {answer.status} {answer.reason}")
        body = answer.read(limit + 1)
        if len(body) > limit:
            sys.exit(f"it is longer than {limit} bytes")
        sys.stdout.buffer.write(body)
        return 0
    sys.exit(f"more than {REDIRECTS} redirects")


def _allowed() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        with open(SETTINGS, "rb") as file:
            return [ipaddress.ip_network(text) for text in tomllib.load(file).get("fetch", {}).get("allow", [])]
    except FileNotFoundError:
        return []


def _get(
    scheme: str,
    host: str,
    port: int | None,
    target: str,
    allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> http.client.HTTPResponse:
    port = port or (443 if scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        sys.exit(f"{host} cannot be resolved: {error.strerror}")
    refused = ""
    for *_, where in found:
        target_host = str(where[0])
        address = ipaddress.ip_address(target_host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if not address.is_global and not any(address in network for network in allowed):
            refused = f"{address} is not a public address; [fetch] allow in {SETTINGS} may permit it"
            continue
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
        try:
            connection.sock = socket.create_connection((target_host, port), SECONDS)
            if scheme == "https":
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            connection.request("GET", target, headers={"Host": host if port in (80, 443) else f"{host}:{port}"})
            return connection.getresponse()
        except OSError as error:
            refused = f"{address} does not answer: {error.strerror or error}"
    sys.exit(refused or f"{host} has no address")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
