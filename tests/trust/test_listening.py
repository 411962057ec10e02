"""Where the agent listens for other machines, and for whom its certificate is."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from cryptography import x509

from geard.failures import Invalid
from geard.host.addresses import Address, addresses
from geard.host.paths import Paths
from geard.trust import authority
from geard.trust.listening import doors_of, names_of, server_file, still_good, wanted
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


@pytest.mark.parametrize("text", ["", "h1:80", "a b", "[x]", "local", "ü.example", "h1/x", "-x"])
def test_what_is_no_name_of_a_machine(text: str) -> None:
    with pytest.raises(Invalid, match="is no name or address"):
        AgentSettings(names=(text,)).check()


def test_all_addresses_are_the_machines_but_not_its_gears_networks() -> None:
    assert wanted(["0.0.0.0:1"], KNOWN) == [("192.0.2.7", 1)]
    assert wanted(["[::]", "192.0.2.7"], KNOWN) == [("2001:db8::7", 43273), ("192.0.2.7", 43273)]
    assert wanted(["0.0.0.0", "192.0.2.7"], KNOWN) == [("192.0.2.7", 43273)]
    assert wanted([], KNOWN) == []


def test_a_certificate_is_for_all_that_the_machine_is_known_by() -> None:
    settings = AgentSettings(listen=("0.0.0.0",), names=("Web.example", "203.0.113.9", "[2001:DB8::9]"))
    with mock.patch("socket.gethostname", return_value="H1"):
        found = names_of(settings, settings.listen, KNOWN)
    assert found == ("h1", "web.example", "203.0.113.9", "2001:db8::9", "192.0.2.7", "2001:db8::7")
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


def test_a_certificate_is_made_anew_for_other_names_and_before_its_end(tmp_path: Path) -> None:
    paths, names = Paths(state=tmp_path), ("h1", "192.0.2.7")
    path, ours = server_file(paths, names)
    first = path.read_text()
    assert server_file(paths, ("192.0.2.7", "h1")) == (path, ours)
    assert path.read_text() == first
    now = datetime.now(UTC)
    assert still_good(first, ours, names, now + timedelta(days=59))
    assert not still_good(first, ours, names, now + timedelta(days=61))
    assert still_good(first, ours, names, now - timedelta(minutes=50))
    assert not still_good(first, ours, names, now - timedelta(hours=2)), "the clock was ahead when it was made"
    assert not still_good(first, ours, ("h1",), now)
    assert not still_good(first, authority.make("h1").pem.decode(), names, now)
    for damaged in ("", first[:40], first[:900], "x" + first):
        assert not still_good(damaged, ours, names, now)
    assert server_file(paths, ("h1", "192.0.2.8"))[1] == ours
    second = path.read_text()
    assert second != first
    certificate = x509.load_pem_x509_certificate(second.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ours.encode()))
    assert "192.0.2.8" in str(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_what_was_made_is_read_without_what_makes_it(tmp_path: Path) -> None:
    server_file(Paths(state=tmp_path), ("h1",))
    program = f"""
import sys
from pathlib import Path
from geard.host.paths import Paths
from geard.trust.listening import server_file
server_file(Paths(state=Path({str(tmp_path)!r})), ("h1",))
print(sorted(name for name in sys.modules if name.partition(".")[0] == "cryptography"))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_no_certificate_outlives_its_authority() -> None:
    with mock.patch.object(authority, "AUTHORITY_DAYS", 5):
        ours = authority.make("h1")
    made = x509.load_pem_x509_certificate(authority.server_bundle(ours, ["h1"]))
    assert made.not_valid_after_utc - made.not_valid_before_utc < timedelta(days=6)
