"""The text forms of port pairs."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from geard.failures import Invalid
from geard.ports.pairs import check_pairs, describe_mapping, parse_metadata, parse_pairs, render_mapping
from geard.ports.requests import PortPair


def pair(internal: int, external: int = 0, protocol: str = "tcp", address: str = "") -> PortPair:
    kind: Literal["tcp", "udp"] = "udp" if protocol == "udp" else "tcp"
    return PortPair(internal=internal, external=external, protocol=kind, address=address)


@pytest.mark.parametrize(
    ("texts", "pairs"),
    [
        ([], None),
        (["none"], ()),
        (["8080:4000"], (pair(8080, 4000),)),
        (["8080:0"], (pair(8080),)),
        (["53:53/udp", "53:53/tcp"], (pair(53, 53, "udp"), pair(53, 53))),
        (["80:1, 81:2", "82:3"], (pair(80, 1), pair(81, 2), pair(82, 3))),
        (["80:65535,65535:1"], (pair(80, 65535), pair(65535, 1))),
        (["80:0,81:0"], (pair(80), pair(81))),
        (["80:127.0.0.1:8080"], (pair(80, 8080, address="127.0.0.1"),)),
        (["80:0.0.0.0:0"], (pair(80, address="0.0.0.0"),)),
        (["53:[FD00:0::7]:53/udp"], (pair(53, 53, "udp", "fd00::7"),)),
    ],
)
def test_pairs(texts: list[str], pairs: tuple[PortPair, ...] | None) -> None:
    assert parse_pairs(texts) == pairs


@pytest.mark.parametrize(
    "texts",
    [
        [""], ["80"], [":80"], ["80:"], ["80:1:2"], ["80::1:2"], ["80:localhost:1"],
        ["80:[127.0.0.1]:1"], ["80:[::1]:1"], ["80::1"], ["80:[fe80::1%eth0]:1"],
        ["80:224.0.0.1:1"], ["80:[::ffff:10.0.0.1]:1"], ["80:127.0.0.1"], ["80:127.0.0.1:"],
        ["80:127.0.0.1:1\nX=1"],
        ["80:010.0.0.1:1"], ["0:1"], ["65536:1"], ["1:65536"], ["-1:1"], ["1:-1"], ["a:b"],
        ["80:1/"],
        ["80:1/sctp"], ["80:1/udp/tcp"], ["٨:1"], ["80:1,"], ["80:1", "80:2"], ["80:1", "81:1"],
        ["none", "80:1"], ["none,none"],
        ["1e3:1"], ["080808:1"], ["+80:1"], ["8 0:1"],
    ],
)  # fmt: skip
def test_no_pairs(texts: list[str]) -> None:
    with pytest.raises(Invalid):
        parse_pairs(texts)


ports = st.integers(1, 65_535)
addresses = st.one_of(st.just(""), st.ip_addresses().map(str))
mappings = st.lists(st.builds(pair, ports, ports, st.sampled_from(("tcp", "udp")), addresses), max_size=5)


@given(mappings)
def test_pairs_come_back(pairs: list[PortPair]) -> None:
    try:
        check_pairs(pairs)
    except Invalid:
        return
    if pairs:
        assert parse_pairs([",".join(map(str, pairs))]) == tuple(pairs)
        assert parse_pairs([render_mapping(pairs)]) == tuple(replace(each, address="") for each in pairs)
    unit = "[Service]\n" + "".join(f"X-PortMapping={each}\n" for each in pairs) + "X-Other=1:2\n"
    assert parse_metadata(unit) == tuple(pairs)


def test_a_mapping_for_people() -> None:
    assert describe_mapping([pair(8080, 4000), pair(53, 4001, "udp")]) == "8080 -> 4000, 53/udp -> 4001"
    assert describe_mapping([]) == ""
