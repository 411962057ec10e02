"""Where the agent listens for other machines, and for whom its certificate is."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from datetime import timedelta
from unittest import mock

import pytest
from cryptography import x509

from geard.failures import Invalid
from geard.host.addresses import Address, addresses
from geard.trust import authority
from geard.trust.listening import doors_of, names_of, wanted
from geard.trust.settings import AgentSettings, parse_listen

KNOWN = [
    Address("192.0.2.7", "eth0"),
    Address("10.183.0.1", "geard0"),
    Address("2001:db8::7", "eth0"),
    Address("fd67::1", "geard0"),
]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("192.0.2.7", ("192.0.2.7", 43273)),
        ("192.0.2.7:443", ("192.0.2.7", 443)),
        ("0.0.0.0", ("0.0.0.0", 43273)),
        ("[::]:443", ("::", 443)),
        ("2001:db8::7", ("2001:db8::7", 43273)),
        ("[2001:db8::7]", ("2001:db8::7", 43273)),
    ],
)
def test_addresses_and_ports(text: str, where: tuple[str, int]) -> None:
    assert parse_listen(text) == where


@pytest.mark.parametrize("text", ["", "eth0", "h1.example", "192.0.2.7:0", "192.0.2.7:x", "192.0.2", "[::", "a b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Invalid, match="is no address to listen on"):
        AgentSettings(listen=(text,)).check()


def test_all_addresses_are_the_machines_but_not_its_gears_networks() -> None:
    assert wanted(["0.0.0.0:1"], KNOWN) == [("192.0.2.7", 1)]
    assert wanted(["[::]", "192.0.2.7"], KNOWN) == [("2001:db8::7", 43273), ("192.0.2.7", 43273)]
    assert wanted(["0.0.0.0", "192.0.2.7"], KNOWN) == [("192.0.2.7", 43273)]
    assert wanted([], KNOWN) == []


def test_a_certificate_is_for_all_that_the_machine_is_known_by() -> None:
    settings = AgentSettings(listen=("0.0.0.0",), names=("web.example", "203.0.113.9"))
    with mock.patch("socket.gethostname", return_value="H1"):
        found = names_of(settings, settings.listen, KNOWN)
    assert found == ("h1", "web.example", "203.0.113.9", "192.0.2.7", "2001:db8::7")
    assert doors_of(AgentSettings(listen=("[::]", "0.0.0.0:1")), KNOWN) == ("[2001:db8::7]:43273", "192.0.2.7:1")


def test_the_kernel_tells_the_addresses_that_ip_tells() -> None:
    said = subprocess.run(["ip", "-j", "address"], capture_output=True, check=True)
    told = [
        (address["local"], link["ifname"])
        for link in json.loads(said.stdout)
        for address in link["addr_info"]
        if address["scope"] == "global"
    ]
    assert sorted((each.text, each.interface) for each in addresses()) == sorted(told)
    assert not any(ipaddress.ip_address(each.text).is_loopback for each in addresses())


def test_a_certificate_is_made_anew_for_other_names_and_before_its_end() -> None:
    ours = authority.make("h1")
    bundle = authority.server_bundle(ours, ["h1", "192.0.2.7"])
    assert authority.still_good(bundle, ours, ["192.0.2.7", "h1"])
    assert not authority.still_good(bundle, ours, ["h1"])
    assert not authority.still_good(bundle, authority.make("h1"), ["h1", "192.0.2.7"])
    assert not authority.still_good(bundle[:300], ours, ["h1", "192.0.2.7"])
    with mock.patch.object(authority, "DAYS", authority.RENEW_DAYS):
        near = authority.server_bundle(ours, ["h1"])
    assert not authority.still_good(near, ours, ["h1"])


def test_no_certificate_outlives_its_authority() -> None:
    with mock.patch.object(authority, "AUTHORITY_DAYS", 5):
        ours = authority.make("h1")
    made = x509.load_pem_x509_certificate(authority.server_bundle(ours, ["h1"]))
    assert made.not_valid_after_utc - made.not_valid_before_utc < timedelta(days=6)
