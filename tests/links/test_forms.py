"""The text forms of links, and what a change makes of those a gear has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.failures import Invalid
from geard.links import file
from geard.links.file import Link
from geard.links.forms import (
    changed_links,
    check_change,
    check_links,
    from_file,
    parse_inside,
    parse_links,
    to_file,
)
from geard.links.requests import ContainerLinks, Inside, NetworkLink
from geard.ports.requests import Protocol


def link(
    from_port: int,
    to_host: str = "",
    to_port: int = 0,
    from_host: str = "",
    protocol: Protocol = "tcp",
    alias: str = "",
) -> NetworkLink:
    return NetworkLink(
        from_port=from_port, to_host=to_host, to_port=to_port, from_host=from_host, protocol=protocol, alias=alias
    )


@pytest.mark.parametrize(
    ("texts", "links"),
    [
        ([], None),
        (["none"], ()),
        (["127.0.0.2:8081:9.8.23.14:8080"], (link(8081, "9.8.23.14", 8080, "127.0.0.2"),)),
        (["8081:9.8.23.14:8080"], (link(8081, "9.8.23.14", 8080),)),
        ([":8081:9.8.23.14:8080"], (link(8081, "9.8.23.14", 8080),)),
        (["8081::"], (link(8081),)),
        (["8081:h2:"], (link(8081, "h2"),)),
        (["8081::80"], (link(8081, "", 80),)),
        (["1:h:2, 192.168.1.1:1:h:3", "53:dns.example.com:53/udp"], (
            link(1, "h", 2), link(1, "h", 3, "192.168.1.1"), link(53, "dns.example.com", 53, protocol="udp"))),
        (["db=5432:h2:4001"], (link(5432, "h2", 4001, alias="db"),)),
        (["8081:localhost:80"], (link(8081, "localhost", 80),)),
    ],
)  # fmt: skip
def test_links(texts: list[str], links: tuple[NetworkLink, ...] | None) -> None:
    assert parse_links(texts) == links


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "8081", "8081:h", "a:b:c:d:e", "1:2:3:4:5", "127.0.0.1:0:h:1", "0:h:1", "65536:h:1", "1:h:65536",
        "1:h:x", "x:h:1", "1:h:1/sctp",
        "==1:h:1", "a b=1:h:1", "300.0.0.1:1:h:1", "0.0.0.0:1:h:1",
        "224.0.0.1:1:h:1", "255.255.255.255:1:h:1", "name:1:h:1", "[::1]:1:h:1", "1:[fd00::1]:1", "1:a b:1",
        "1:-h:1", "1:h..x:1",
        "1:1.2.3:1", "1:999.1.1.1:1", "1:0.0.0.0:1", "1:239.1.1.1:1", "1:h\n:1", "1:h;reboot:1", "1:$(x):1",
        "1:h:1,1:i:1", "127.0.0.1:1:h:1,1:i:1", "1:ä:1", "none,1:h:1", "01.1.1.1:1:h:1", "1:../../x:1",
    ],
)  # fmt: skip
def test_what_is_no_link_is_refused(text: str) -> None:
    if text in ("",):
        assert parse_links([text]) == ()
        return
    with pytest.raises(Invalid):
        parse_links([text])


def test_a_wait_that_cannot_be_is_refused() -> None:
    for wrong in (
        NetworkLink(from_port=1, to_host="h", to_port=1, wait=-1),
        NetworkLink(from_port=1, to_host="h", to_port=1, wait=10**6),
        NetworkLink(from_port=1, to_host="h", to_port=1, wait=1, protocol="udp"),
    ):
        with pytest.raises(Invalid):
            check_links([wrong])


ADDRESS = st.tuples(st.integers(1, 223), *[st.integers(0, 255)] * 3).map(lambda n: ".".join(map(str, n)))
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}(\.[a-z][a-z0-9-]{0,10}){0,2}", fullmatch=True).filter(
    lambda name: not name.isdigit() and name != "-"
)
LINKS = st.lists(
    st.builds(
        Link,
        ADDRESS,
        st.integers(1, 65_535),
        st.one_of(st.just(""), ADDRESS, NAMES),
        st.integers(0, 65_535),
        st.just("tcp"),
        st.integers(0, 86_400),
        st.one_of(st.just(""), st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True)),
    ),
    unique_by=lambda link: link[:2],
    max_size=5,
)


@given(LINKS)
def test_what_is_written_is_read_and_asked_for_again(links: list[Link]) -> None:
    assert file.parse(file.render(links)) == tuple(links)
    words = [from_file(each) for each in links]
    assert [to_file(word) for word in words] == links
    texts = [
        (f"{w.alias}=" if w.alias else "") + f"{w.from_host}:{w.from_port}:{w.to_host}:{w.to_port or ''}"
        for w in words
    ]
    again = parse_links(texts)
    assert [to_file(word)[:5] for word in again or ()] == [each[:5] for each in links]


@given(st.text(alphabet="0123456789.:\t\n-abc/udptcp \"{}'", max_size=80))
def test_a_file_that_somebody_wrote_into_never_breaks_a_start(text: str) -> None:
    for found in file.parse(text):
        assert file.is_ipv4(found.from_host) and found.protocol in ("tcp", "udp")
        assert not set(found.to_host) & set(" \n\t\"'{}:;")


def test_the_readmes_line() -> None:
    assert file.render([Link("127.0.0.1", 8081, "9.8.23.14", 8080)]) == "8081\t8080\t9.8.23.14\n"
    assert file.parse("8081\t8080\t9.8.23.14\n") == (Link("127.0.0.1", 8081, "9.8.23.14", 8080),)
    assert file.render([Link("127.0.0.2", 53, "", 0, "udp")]) == "53\t0\t-\t127.0.0.2\tudp\n"


NOW = (Link("127.0.0.1", 1, "a", 1, "tcp", 60), Link("127.0.0.2", 2, "b", 2))


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        (ContainerLinks(id="web"), ()),
        (ContainerLinks(id="web", network_links=(link(1, "c", 3),)), (Link("127.0.0.1", 1, "c", 3, "tcp", 60),)),
        (
            ContainerLinks(id="web", network_links=(link(1, "c", 3),), add=True),
            (Link("127.0.0.1", 1, "c", 3, "tcp", 60), NOW[1]),
        ),
        (ContainerLinks(id="web", remove=(Inside(from_port=1), Inside(from_port=9))), (NOW[1],)),
        (
            ContainerLinks(id="web", network_links=(link(3, "d", 4),), remove=(Inside(from_port=1),)),
            (NOW[1], Link("127.0.0.1", 3, "d", 4)),
        ),
    ],
)
def test_a_change(asked: ContainerLinks, after: tuple[Link, ...]) -> None:
    check_change(asked)
    assert changed_links(NOW, asked) == after


def test_to_lead_and_to_remove_one_place_is_refused() -> None:
    asked = ContainerLinks(id="web", network_links=(link(1, "c", 3),), remove=(parse_inside("127.0.0.1:1"),))
    with pytest.raises(Invalid):
        check_change(asked)


def test_variables_name_places_inside_and_the_first_of_an_alias() -> None:
    links = [
        Link("192.168.1.1", 27017, "h1", 4000, "tcp", 0, "my-db"),
        Link("192.168.1.2", 27017, "h2", 4000, "tcp", 0, "my-db"),
        Link("127.0.0.1", 53, "h3", 53, "udp"),
    ]
    assert file.variables(links) == {
        "MY_DB_PORT": "tcp://192.168.1.1:27017",
        "MY_DB_PORT_27017_TCP": "tcp://192.168.1.1:27017",
        "MY_DB_PORT_27017_TCP_ADDR": "192.168.1.1",
        "MY_DB_PORT_27017_TCP_PORT": "27017",
        "MY_DB_PORT_27017_TCP_PROTO": "tcp",
        "LINK_PORT": "udp://127.0.0.1:53",
        "LINK_PORT_53_UDP": "udp://127.0.0.1:53",
        "LINK_PORT_53_UDP_ADDR": "127.0.0.1",
        "LINK_PORT_53_UDP_PORT": "53",
        "LINK_PORT_53_UDP_PROTO": "udp",
        "MY_DB_LINKS": "tcp://192.168.1.1:27017 tcp://192.168.1.2:27017",
        "LINK_LINKS": "udp://127.0.0.1:53",
    }
