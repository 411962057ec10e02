"""Slots: the users, the address and the MAC that go with each; none is given twice."""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.host import FakeHost

from geard.containers import slots
from geard.containers.ids import slots_of
from geard.failures import Invalid, Unavailable
from geard.host.storage import Changes
from geard.setup.network import CANDIDATES, choose_ipv4, choose_ipv6, moved, plan

BRIDGE = slots.Bridge(ipaddress.IPv4Network("10.183.0.0/16"), ipaddress.IPv6Network("fd67:6561:7264:1::/64"))


def unit(name: str) -> Path:
    return Path(f"/units/{name[:2]}/ctr-{name}.service")


def test_a_slots_addresses() -> None:
    assert slots.addresses(BRIDGE, 0) == ("10.183.0.10", "fd67:6561:7264:1::a", "02:67:65:00:00:0a")
    assert slots.addresses(slots.Bridge(BRIDGE.ipv4, None), 1) == ("10.183.0.11", "", "02:67:65:00:00:0b")


@given(st.sets(st.integers(0, slots.SLOTS - 1), min_size=2, max_size=20))
def test_no_two_slots_share_anything(numbers: set[int]) -> None:
    found = [slots.addresses(BRIDGE, number) for number in numbers]
    for column in zip(*found, strict=True):
        assert len(set(column)) == len(numbers)
    for ipv4, ipv6, mac in found:
        assert ipaddress.ip_address(ipv4) in BRIDGE.ipv4
        assert ipaddress.ip_address(ipv6) in ipaddress.IPv6Network("fd67:6561:7264:1::/64")
        assert mac.startswith("02:67:65:")


def test_the_last_slot_is_inside_everything() -> None:
    last = slots.SLOTS - 1
    assert slots.uid_base(last) + slots.RANGE <= 1_879_048_192
    assert ipaddress.IPv4Address(slots.addresses(BRIDGE, last)[0]) < BRIDGE.ipv4.broadcast_address


def test_each_gear_has_its_own(fake_host: FakeHost) -> None:
    with Changes() as changes:
        found = [slots.reserve(fake_host.paths, changes, unit(f"g{n}")) for n in range(20)]
    assert len(set(found)) == 20
    assert slots.kept(fake_host.paths, unit("g7")) == found[7]
    assert slots.kept(fake_host.paths, unit("absent")) is None


def test_a_slot_is_given_back_by_its_gear_alone(fake_host: FakeHost) -> None:
    paths = fake_host.paths
    with Changes() as changes:
        number = slots.reserve(paths, changes, unit("web"))
        slots.release(paths, changes, number, unit("other"))
        assert slots.kept(paths, unit("web")) == number
        slots.release(paths, changes, number, unit("web"))
        assert slots.kept(paths, unit("web")) is None
        slots.release(paths, changes, number, unit("web"))


@pytest.mark.parametrize("hint", ["", "x", "-1", "3", "999999"])
def test_a_hint_that_is_wrong_does_no_harm(fake_host: FakeHost, hint: str) -> None:
    (fake_host.paths.base / "slots").mkdir()
    (fake_host.paths.base / "slots" / "next").write_text(hint)
    with Changes() as changes, mock.patch.object(slots, "SLOTS", 5):
        found = {slots.reserve(fake_host.paths, changes, unit(f"g{n}")) for n in range(5)}
        assert found == set(range(5))
        with pytest.raises(Unavailable):
            slots.reserve(fake_host.paths, changes, unit("one-more"))


def test_ids_are_taken_from_the_span_that_an_admin_has_chosen(fake_host: FakeHost) -> None:
    """Whole ranges that lie in it; who has others keeps them."""
    within = slots_of("2065536-2262143")
    with Changes() as changes:
        before = slots.reserve(fake_host.paths, changes, unit("before"))
        found = {slots.reserve(fake_host.paths, changes, unit(f"g{n}"), within) for n in range(3)}
        assert (before, found) == (0, {1, 2, 3})
        with pytest.raises(Unavailable, match="all 3 slots"):
            slots.reserve(fake_host.paths, changes, unit("one-more"), within)
    assert [slots_of(text) for text in ("2000001-2131071", "2000000-2131070", "2000000-1837007999", "")] == [
        *(range(1, 2), range(1), range(slots.SLOTS), range(slots.SLOTS))
    ]


@pytest.mark.parametrize(
    "text",
    ["x", "2000000", "2000000-", "-5", "0-2131071", "2000001-2131070", "3000000-2500000", "2000000-1837008000"],
)
def test_what_is_no_span_of_ids(text: str) -> None:
    with pytest.raises(Invalid, match="ids: "):
        slots_of(text)


def test_many_at_once_get_a_slot_each(fake_host: FakeHost) -> None:
    found: list[int] = []

    def reserve(number: int) -> None:
        with Changes() as changes:
            found.append(slots.reserve(fake_host.paths, changes, unit(f"g{number}")))

    threads = [threading.Thread(target=reserve, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def test_a_host_without_setup_says_so(fake_host: FakeHost) -> None:
    (fake_host.paths.base / "network").unlink()
    with pytest.raises(Unavailable) as caught:
        slots.bridge(fake_host.paths, "podman")
    assert "gear setup" in caught.value.hint


@pytest.mark.parametrize("ipv6", [True, False])
def test_the_networks_that_setup_chose_come_back(fake_host: FakeHost, *, ipv6: bool) -> None:
    (fake_host.paths.base / "network").write_text(plan("", ["10.183.0.0/16"], b"seed", ipv6=ipv6))
    podman, docker = (slots.bridge(fake_host.paths, engine) for engine in ("podman", "docker"))
    assert (podman.ipv4, docker.ipv4) == CANDIDATES[1:3]
    assert (podman.ipv6 is not None, docker.ipv6 is not None) == (ipv6, ipv6)
    assert podman.ipv6 != docker.ipv6 or not ipv6


def test_a_network_that_is_there_stays_when_another_engine_comes() -> None:
    before = "ipv4 10.5.0.0/16\n"
    assert plan(before, ["10.183.0.0/16"], b"seed", ipv6=True) == f"{before}docker-ipv4 {CANDIDATES[1]}\n"
    whole = plan("", [], b"seed", ipv6=True)
    assert plan(whole, [str(CANDIDATES[3])], b"other", ipv6=True) == whole


def test_on_another_machine_only_what_leads_elsewhere_becomes_another_and_none_overlap() -> None:
    first, second, third, fourth = (str(net) for net in CANDIDATES[:4])
    whole = f"ipv4 {first}\nipv6 fd67::/64\ndocker-ipv4 {second}\ndocker-ipv6 fd67:0:0:1::/64\n"
    assert moved(whole, ["default"], ipv6=True) == whole
    assert moved("", [first], ipv6=True) == ""
    assert moved(whole, [first], ipv6=True) == whole.replace(first, third)
    assert moved(whole, [second], ipv6=True) == whole.replace(second, third)
    assert moved(whole, [first, second, third], ipv6=False) == f"ipv4 {fourth}\ndocker-ipv4 {CANDIDATES[4]}\n"
    assert moved(f"ipv4 {second}\ndocker-ipv4 {second}\n", [], ipv6=True) == (
        f"ipv4 {second}\ndocker-ipv4 {first}\n"
    ), "as an earlier version left it"


def test_the_network_is_one_that_leads_nowhere_yet() -> None:
    assert choose_ipv4([]) == CANDIDATES[0]
    assert choose_ipv4(["default", "10.183.4.0/24", "10.184.0.1", "::/0", "fe80::1"]) == CANDIDATES[2]
    with pytest.raises(Unavailable):
        choose_ipv4(["10.0.0.0/8"])


@given(st.binary(max_size=40))
def test_the_ipv6_network_is_a_unique_local_one(seed: bytes) -> None:
    assert choose_ipv6(seed, 1).subnet_of(ipaddress.IPv6Network("fd67:6561:7264::/48"))
    assert choose_ipv6(seed, 0).prefixlen == 64
    assert choose_ipv6(seed, 0) != choose_ipv6(seed, 1)
