"""Where links lead now, and the rules that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from geard.links.far_ends import lead, look_up, names_of
from geard.links.file import Link
from geard.links.rules import Led, render_change, render_inside, render_openings
from geard.links.starting import find_circle

GATEWAY = "10.183.0.1"
GOLDEN = Path(__file__).parent / "golden" / "inside.nft"
LED = (
    Led("tcp", "127.0.0.2", 8081, "9.8.23.14", 8080),
    Led("udp", "192.168.1.1", 53, GATEWAY, 5353, here=True),
    Led("tcp", "127.0.0.1", 82, "", 0),
)


def test_the_rules_in_a_gear(request: pytest.FixtureRequest) -> None:
    found = render_inside(LED)
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_a_change_leaves_the_rules_and_has_the_same_elements() -> None:
    assert render_change(LED).splitlines() == [
        "flush map ip geard_links to",
        "flush set ip geard_links nowhere",
        "add element ip geard_links to { tcp . 127.0.0.2 . 8081 : 9.8.23.14 . 8080,"
        " udp . 192.168.1.1 . 53 : 10.183.0.1 . 5353 }",
        "add element ip geard_links nowhere { tcp . 127.0.0.1 . 82 }",
    ]
    assert render_change(()).splitlines() == ["flush map ip geard_links to", "flush set ip geard_links nowhere"]


def test_without_links_nothing_is_led() -> None:
    assert "elements" not in render_inside(())


def test_the_host_opens_just_what_leads_to_it() -> None:
    assert render_openings([("10.183.0.10", led) for led in LED]) == (
        "flush set inet geard links\nadd element inet geard links { 10.183.0.10 . 10.183.0.1 . udp . 5353 }\n"
    )
    assert render_openings(()) == "flush set inet geard links\n"


def led_to(host: str, known: dict[str, tuple[str, ...]], before: tuple[Led, ...] = ()) -> str:
    (found,) = lead([Link("127.0.0.1", 80, host, 8080)], known, GATEWAY, before)
    return found.address


def test_localhost_is_the_host() -> None:
    for host in ("localhost", "127.0.0.1", "127.0.1.1"):
        assert led_to(host, {}) == GATEWAY
    assert led_to("h1", {"h1": ("127.0.1.1",)}) == GATEWAY, "what /etc/hosts of Debian says of its own name"


def test_a_name_keeps_the_address_it_has_while_that_is_one_of_its_own() -> None:
    before = (Led("tcp", "127.0.0.1", 80, "192.0.2.7", 8080),)
    assert led_to("db", {"db": ("192.0.2.3", "192.0.2.7")}, before) == "192.0.2.7"
    assert led_to("db", {"db": ("192.0.2.3",)}, before) == "192.0.2.3"
    assert led_to("db", {}, before) == "192.0.2.7", "a name server that is out of order moves nothing"
    assert led_to("db", {}) == ""


def test_an_incomplete_link_leads_nowhere() -> None:
    links = [Link("127.0.0.1", 80, "", 0), Link("127.0.0.1", 81, "192.0.2.1", 0), Link("127.0.0.1", 82, "", 80)]
    assert [led.address for led in lead(links, {}, GATEWAY, ())] == ["", "", ""]
    assert names_of(links) == set()


def test_names_are_looked_up_at_once_and_unknown_ones_are_not_there() -> None:
    assert look_up(["localhost", "nobody.invalid"], 5) == {"localhost": ("127.0.0.1",)}


@pytest.mark.parametrize(
    ("waits", "circle"),
    [
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"a": ["b"], "b": ["b"]}, []),
        ({}, []),
    ],
)
def test_a_circle_of_waits(waits: dict[str, list[str]], circle: list[str]) -> None:
    assert find_circle("a", lambda id: waits.get(id, [])) == circle
