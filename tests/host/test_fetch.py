"""What may be asked for somebody, and where. The program runs as it does on a host; servers are real ones."""

from __future__ import annotations

import ipaddress
import json
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trustme
from tests.fakes.site import real_program, site

from geard.failures import Invalid, Unavailable
from geard.host import fetch, process
from geard.host.unit_hooks import fetch as hook

REFUSED = r"is not a public address|cannot be resolved"
LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture(autouse=True)
def program() -> Generator[None]:
    with real_program():
        yield


# --- which addresses


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
        ),
        *(
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
        ),
        *(
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd67:6561::1",
            "ff02::1",
            "2001:db8::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1"),
        *("64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "3fff::1", "5f00::1", "100::1", "4000::1"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert "is not a public address" in hook.refusal(found, 443, [], own=False)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:4700::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
)
def test_a_public_address_is_asked(address: str) -> None:
    assert hook.refusal(ipaddress.ip_address(address), 443, [], own=False) == ""


def test_the_settings_permit_networks_in_each_spelling() -> None:
    allowed: list[hook.Network] = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd67::1"):
        assert hook.refusal(ipaddress.ip_address(address), 8080, allowed, own=False) == ""
    assert hook.refusal(ipaddress.ip_address("192.168.0.1"), 8080, allowed, own=False) != ""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.7"])
def test_the_agent_itself_is_refused_whatever_is_allowed(address: str) -> None:
    everywhere: list[hook.Network] = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    found = ipaddress.ip_address(address)
    assert "is this machine's agent" in hook.refusal(found, 43273, everywhere, own=True)
    assert hook.refusal(found, 43274, everywhere, own=True) == ""


def test_which_addresses_are_this_machines_own() -> None:
    def own(address: str) -> bool:
        found = ipaddress.ip_address(address)
        return hook._is_own(found, (address, 80, 0, 0)[: 2 if found.version == 4 else 4])  # pyright: ignore[reportPrivateUsage]

    for address in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::ffff:127.0.0.1"):
        assert own(address), address
    assert not own("192.0.2.1") and not own("2001:db8::1")


# --- which URLs


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/", "begins with http"),
        ("file:///etc/shadow", "begins with http"),
        ("//example.com/", "begins with http"),
        ("http:///x", "begins with http"),
        ("https://user:secret@example.com/", "a user or a password"),
        ("https://example.com@127.0.0.1/", "a user or a password"),
        ("http://example.com\\@127.0.0.1/", "backslashes"),
        ("http://example.com/\r\nX-Request-Id: 1", "control characters"),
        ("http://example.com/a b", "blanks"),
        ("http://exämple.com/", "beyond ASCII"),
        ("http://example.com:99999/", "Port out of range"),
        ("http://example.com:25/", "no port of a web server"),
        ("http://example.com:0/", "no port of a web server"),
        ("http://[::1/", "Invalid IPv6"),
        (f"http://example.com/{'x' * 2000}", "more than 2000"),
    ],
)
async def test_a_url_that_cannot_be(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as met:
        await fetch.fetch_text(url, LOOPBACK)
    assert "secret" not in met.value.message


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0", "0.0.0.0"),
        *("localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
        *("[::]", "[64:ff9b::7f00:1]", "[::7f00:1]", "%31%32%37.0.0.1"),
    ],
)
async def test_loopback_in_each_spelling_is_not_asked(host: str) -> None:
    with site() as local:
        with pytest.raises(Invalid, match=REFUSED):
            await fetch.fetch_text(f"http://{host}:{local.port}/x", ())
        with pytest.raises(Unavailable, match=REFUSED):
            await fetch.post(f"http://{host}:{local.port}/x", b"{}", {}, ())
    assert local.asked == []


async def test_what_settings_permit_is_fetched() -> None:
    with site() as local:
        assert await fetch.fetch_text(f"{local.url}/env?x=1", LOOPBACK) == "A=1\n"
    [(method, path, headers, _)] = local.asked
    assert (method, path, headers["Host"]) == ("GET", "/env?x=1", f"127.0.0.1:{local.port}")


async def test_a_post_brings_its_body_and_headers_and_follows_nowhere() -> None:
    with site() as local:
        local.answers["/moved"] = (307, {"Location": "/x", "Retry-After": "7"}, b"")
        reply = await fetch.post(f"{local.url}/moved", b'{"a":1}', {"Webhook-Id": "1"}, LOOPBACK)
    assert (reply.status, reply.retry_after, reply.body) == (307, "7", b"")
    [(method, path, headers, body)] = local.asked
    assert (method, path, headers["Webhook-Id"], body) == ("POST", "/moved", "1", b'{"a":1}')


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/inside", "http://[::ffff:127.0.0.1]:{port}/inside"])
async def test_a_redirect_to_where_nothing_may_be_asked(target: str) -> None:
    with site("127.0.0.2") as outside, site() as inside:
        outside.answers["/"] = (302, {"Location": target.format(port=inside.port)}, b"")
        with pytest.raises(Invalid, match=r"127\.0\.0\.1 is not a public address"):
            await fetch.fetch_text(f"{outside.url}/", ["127.0.0.2/32"])
    assert len(outside.asked) == 1 and inside.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.2/", "http://a:b@127.0.0.2/"])
async def test_a_redirect_to_what_is_no_url(target: str) -> None:
    with site("127.0.0.2") as outside:
        outside.answers["/"] = (302, {"Location": target}, b"")
        with pytest.raises(Invalid, match="a URL"):
            await fetch.fetch_text(f"{outside.url}/", LOOPBACK)


async def test_redirects_are_followed_and_counted() -> None:
    with site() as local:
        local.answers["/"] = (301, {"Location": "/env"}, b"")
        local.answers["/round"] = (302, {"Location": "/round"}, b"")
        assert await fetch.fetch_text(f"{local.url}/", LOOPBACK) == "A=1\n"
        with pytest.raises(Invalid, match="more than 5 redirects"):
            await fetch.fetch_text(f"{local.url}/round", LOOPBACK)


async def test_what_is_no_text_of_the_right_size() -> None:
    with site() as local:
        local.answers["/long"] = (200, {}, b"x" * (fetch.LIMIT + 1))
        local.answers["/binary"] = (200, {}, b"\xff\xfe")
        local.answers["/none"] = (404, {}, b"secret page")
        for path, why in (("long", "longer than"), ("binary", "not UTF-8"), ("none", "answered 404")):
            with pytest.raises(Invalid, match=why) as met:
                await fetch.fetch_text(f"{local.url}/{path}", LOOPBACK)
            assert "secret page" not in str(met.value)


async def test_over_tls_the_name_must_be_vouched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    with site() as local, pytest.raises(Invalid, match="SSL"):
        await fetch.fetch_text(f"https://127.0.0.1:{local.port}/", LOOPBACK)
    with site(certificate=authority.issue_cert("localhost")) as local:
        with pytest.raises(Invalid, match="certificate verify failed"):
            await fetch.fetch_text(f"https://localhost:{local.port}/", LOOPBACK)
        with tempfile.NamedTemporaryFile() as file:  # nobody can read what is below pytest's own folder
            file.write(authority.cert_pem.bytes())
            file.flush()
            Path(file.name).chmod(0o644)
            monkeypatch.setenv("SSL_CERT_FILE", file.name)
            assert await fetch.fetch_text(f"https://localhost:{local.port}/", LOOPBACK) == "A=1\n"
            with pytest.raises(Invalid, match="certificate verify failed"):
                await fetch.fetch_text(f"https://127.0.0.1:{local.port}/", LOOPBACK)
    assert len(local.asked) == 1


async def test_a_server_that_never_ends_is_left() -> None:
    with mock.patch.object(fetch, "SECONDS", 1), socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Invalid, match="took too long"):
            await fetch.fetch_text(f"http://127.0.0.1:{port}/", LOOPBACK)


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with site() as proxy, site("127.0.0.2") as local:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert await fetch.fetch_text(f"{local.url}/", ["127.0.0.2/32"]) == "A=1\n"
    assert proxy.asked == []


# --- names


def addresses(*rounds: list[str]) -> Any:
    """A name server: what it says the first time, the second time, …"""
    said = iter(rounds)

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(said)]

    return mock.patch.object(socket, "getaddrinfo", side_effect=look_up)


def dialled(url: str, *allow: str) -> str:
    """The address that was connected to."""
    networks = [ipaddress.ip_network(text) for text in allow]
    parts = hook.parse_url(url)
    with hook.dial(parts.hostname or "", hook.port_of(parts), networks) as line:
        return str(line.getpeername()[0])


def test_of_two_addresses_only_the_permitted_one_is_dialled() -> None:
    with site("127.0.0.2") as permitted, site("127.0.0.1", permitted.port) as other:
        with addresses(["127.0.0.1", "127.0.0.2"]):
            assert dialled(f"http://two.example:{permitted.port}/", "127.0.0.2/32") == "127.0.0.2"
        with addresses(["127.0.0.1", "127.0.0.3"]), pytest.raises(ValueError, match="not a public address"):
            dialled(f"http://two.example:{permitted.port}/", "127.0.0.2/32")
    assert other.asked == []


def test_a_name_is_resolved_once_and_what_was_checked_is_dialled() -> None:
    """A second look would find what a rebinding name server says then."""
    with site("127.0.0.2") as permitted:
        with addresses(["127.0.0.2"], ["127.0.0.1"]) as look_up:
            assert dialled(f"http://rebound.example:{permitted.port}/", "127.0.0.2/32") == "127.0.0.2"
        assert look_up.call_count == 1


# --- what is shown


async def test_an_order_stands_on_no_command_line() -> None:
    told: list[list[str]] = []
    real = process.run

    async def run(argv: list[str], **options: Any) -> Any:
        told.append(argv)
        assert b"hook-secret" in options["stdin"]
        return await real(argv, **options)

    with site() as local, mock.patch.object(fetch, "run", run):
        await fetch.post(f"{local.url}/hook-secret", b"{}", {}, LOOPBACK)
    assert "hook-secret" not in json.dumps(told)


def test_what_messages_show_of_a_url() -> None:
    assert fetch.without_query("https://u:p@example.com:8443/a/b?token=x#y") == "https://example.com:8443/a/b"
    assert fetch.origin("https://u:p@example.com:8443/a/b?token=x") == "https://example.com:8443"
