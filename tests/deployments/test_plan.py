"""Plans: the tables of the original's fixtures, names, places, addresses, and what changes when the file does."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.deployments.there import carried_out, deployed

from geard.deployments.descriptor import (
    Container,
    Descriptor,
    Instance,
    Link,
    PublicPort,
    Target,
    parse_descriptor,
    schema,
)
from geard.deployments.found import There, reached_as
from geard.deployments.plan import Plan, plan_deployment
from geard.deployments.requests import Deployed, OtherGear
from geard.failures import AlreadyExists, Invalid, PreconditionFailed
from geard.ports.requests import PortPair

FIXTURES = Path("tests/deployments/fixtures")
TWO = ("hostA", "hostB:1234")
A, B = TWO


def fixture(name: str) -> Descriptor:
    path = FIXTURES / name
    found = parse_descriptor(path.read_text(), name)
    return msgspec.structs.replace(found, name=found.name or path.stem)


def web(count: int, **more: object) -> Descriptor:
    container = Container(
        name="web", image="a/web", count=count, public_ports=(PublicPort(internal=8080),), links=(Link(to="web"),)
    )
    return Descriptor(containers=(msgspec.structs.replace(container, **more),), name="d")


def rows(plan: Plan) -> list[str]:
    """`web-1 hostA 8080 -> 127.0.0.1:8080`, as the original's tables have it."""
    found: list[str] = []
    for gear in plan.gears:
        for port in gear.instance.ports or (None,):
            words = [gear.id, gear.on]
            if port is not None:
                words.append(str(port.internal) + (f" ext {port.external}" if port.external else ""))
                words += ["->", f"{port.target.host}:{port.target.port}"] if port.target is not None else []
            found.append(" ".join(words))
    return found


def sees(plan: Plan, container: str) -> list[str]:
    """Where an instance finds those it is linked to, and on which host; the same for all of a container."""
    tables = {
        tuple(f"{link.place} {link.to_host or reached_as(gear.on)}" for link in gear.links)
        for gear in plan.gears
        if gear.instance.container == container
    }
    assert len(tables) == 1, f"instances of {container} are linked differently: {tables}"
    return list(tables.pop())


def again(plan: Plan, **changes: object) -> Descriptor:
    """The descriptor with the instances of a plan, and what has been changed in it."""
    return msgspec.structs.replace(plan.descriptor, **changes)


TABLES = {
    "simple_deploy": [f"web-1 {A} 8080 -> 127.0.0.1:8080", f"web-2 {B} 8080 -> 127.0.0.1:8081"],
    "complex_deploy": [
        f"web-1 {A} 8080 -> 127.0.0.1:8080",
        f"web-2 {B} 8080 -> 127.0.0.1:8081",
        f"db-1 {A} 27017 -> 127.0.0.1:27017",
        f"db-2 {B} 27017 -> 127.0.0.1:27018",
        f"db-3 {A} 27017 -> 127.0.0.1:27019",
    ],
    "lb_eap_mongo": [
        f"lb-1 {A} 80 ext 8080",
        f"backend-1 {B} 8080 -> 127.0.0.1:8080",
        f"backend-2 {A} 8080 -> 127.0.0.1:8081",
        f"db-1 {B} 27017 -> 192.168.1.1:27017",
        f"db-2 {A} 27017 -> 192.168.1.2:27017",
        f"db-3 {B} 27017 -> 192.168.1.3:27017",
    ],
    "link_alias": [
        f"web-1 {A}",
        f"db-1 {B} 3000 -> 127.0.0.1:8080",
        f"db-2 {A} 3000 -> 127.0.0.2:8080",
    ],
    "mongo_deploy": [
        f"db-1 {A} 27017 -> 192.168.1.1:27017",
        f"db-2 {B} 27017 -> 192.168.1.2:27017",
        f"db-3 {A} 27017 -> 192.168.1.3:27017",
    ],
    "openshift_deploy": [f"origin-broker-1 {A} 443 ext 6060", f"origin-db-1 {B} 27017 -> 127.0.0.1:27017"],
    "redis_martini_deploy": [f"martini-web-1 {A} 3000", f"martini-redis-1 {B} 6379 -> 127.0.0.1:6379"],
    "rockmongo_mongo": [f"rockmongo-1 {A} 80 ext 6060", f"mongodb-1 {B} 27017 -> 127.0.0.1:27017"],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_originals_fixtures_give_the_originals_tables(name: str) -> None:
    assert rows(plan_deployment(fixture(f"{name}.json"), TWO)) == TABLES[name]


def test_what_instances_see_of_each_other() -> None:
    web_a, web_b = "127.0.0.1:8080 hostA", "127.0.0.1:8081 hostB"
    plan = plan_deployment(fixture("simple_deploy.json"), TWO)
    assert sees(plan, "web") == [web_a, web_b]

    plan = plan_deployment(fixture("complex_deploy.json"), TWO)
    dbs = ["127.0.0.1:27017 hostA", "127.0.0.1:27018 hostB", "127.0.0.1:27019 hostA"]
    assert sees(plan, "web") == [web_a, web_b, *dbs]
    assert sees(plan, "db") == dbs

    plan = plan_deployment(fixture("lb_eap_mongo.json"), TWO)
    members = ["192.168.1.1:27017 hostB", "192.168.1.2:27017 hostA", "192.168.1.3:27017 hostB"]
    assert sees(plan, "lb") == ["127.0.0.1:8080 hostB", "127.0.0.1:8081 hostA"]
    assert sees(plan, "backend") == members
    assert sees(plan, "db") == members

    assert sees(plan_deployment(fixture("link_alias.json"), TWO), "web") == [
        "127.0.0.1:8080 hostB",
        "127.0.0.2:8080 hostA",
    ]
    assert sees(plan_deployment(fixture("openshift_deploy.json"), TWO), "origin-broker") == [
        "127.0.0.1:27017 hostB"
    ]
    assert sees(plan_deployment(fixture("redis_martini_deploy.json"), TWO), "martini-web") == [
        "127.0.0.1:6379 hostB"
    ]
    assert sees(plan_deployment(fixture("rockmongo_mongo.json"), TWO), "rockmongo") == ["127.0.0.1:27017 hostB"]


def test_a_host_that_is_left_out_is_evacuated_and_addresses_go_along() -> None:
    """`mongo_deploy_existing`: three members on localhost, which is not among the hosts."""
    there = There({"localhost": _holding(fixture("mongo_deploy_existing.json"), "localhost")})
    plan = plan_deployment(fixture("mongo_deploy_existing.json"), TWO, there)
    assert rows(plan) == TABLES["mongo_deploy"]
    assert [gear.moved_from for gear in plan.gears] == ["localhost"] * 3
    assert [(gone.id, gone.on, gone.moved) for gone in plan.removed] == [
        (f"db-{n}", "localhost", True) for n in (1, 2, 3)
    ]


def test_without_hosts_nothing_is_left() -> None:
    descriptor = fixture("mongo_deploy_existing.json")
    plan = plan_deployment(descriptor, (), There({"localhost": _holding(descriptor, "localhost")}))
    assert plan.gears == ()
    assert len(plan.removed) == 3


def _holding(descriptor: Descriptor, host: str) -> Deployed:
    """What a host would answer that has the instances which are written down for it."""
    return deployed(plan_deployment(descriptor, [host]), host)


def test_every_link_leads_somewhere_once_the_ports_are_known() -> None:
    plan = plan_deployment(fixture("complex_deploy.json"), TWO)
    assert all(link.to_port == 0 for gear in plan.gears for link in gear.links)
    plan = plan_deployment(again(plan), TWO, carried_out(plan))
    assert all(link.to_port for gear in plan.gears for link in gear.links)


def test_a_gap_in_the_numbers_is_filled() -> None:
    """The original made a second web-3."""
    had = tuple(Instance(id=f"web-{n}", container="web", on=A) for n in (1, 3))
    plan = plan_deployment(msgspec.structs.replace(web(3), instances=had), [A])
    assert [gear.id for gear in plan.gears] == ["web-1", "web-2", "web-3"]


def test_the_highest_numbers_go_first() -> None:
    had = tuple(Instance(id=f"web-{n}", container="web", on=A) for n in (10, 2, 1))
    plan = plan_deployment(msgspec.structs.replace(web(2), instances=had), [A])
    assert [gear.id for gear in plan.gears] == ["web-1", "web-2"]


def test_random_names_are_names_and_the_same_again() -> None:
    descriptor = msgspec.structs.replace(web(3), randomize_ids=True, id_prefix="p-")
    ids = [gear.id for gear in plan_deployment(descriptor, TWO).gears]
    assert len(set(ids)) == 3
    assert all(id.startswith("p-web-") and len(id) == len("p-web-") + 8 for id in ids)
    assert {gear.id for gear in plan_deployment(descriptor, TWO).gears} == set(ids)
    plan = plan_deployment(again(plan_deployment(descriptor, TWO)), TWO)
    assert {gear.id for gear in plan.gears} == set(ids)


def test_a_prefix_stands_before_every_name() -> None:
    plan = plan_deployment(fixture("three_tiers.yaml"), ["a", "b", "c"])
    assert [gear.id for gear in plan.gears] == ["shop-front-1", "shop-app-1", "shop-app-2", "shop-store-1"]


def test_affinity() -> None:
    assert [g.on for g in plan_deployment(web(4, affinity="pack"), TWO).gears] == [A] * 4
    assert [g.on for g in plan_deployment(web(4, affinity="spread"), TWO).gears] == [A, B, A, B]
    assert [g.on for g in plan_deployment(web(2, affinity=f"host={B}"), TWO).gears] == [B, B]
    assert [g.on for g in plan_deployment(web(2, affinity="not-with=web"), TWO).gears] == [A, B]
    with pytest.raises(PreconditionFailed, match=r"no host for web-3.*hostA: its Affinity is not-with=web"):
        plan_deployment(web(3, affinity="not-with=web"), TWO)
    assert [g.on for g in plan_deployment(web(2, affinity="host=hostB"), TWO).gears] == [B, B]
    apart = (*web(1, affinity="not-with=db").containers, Container(name="db", image="a/db", count=2))
    assert [g.on for g in plan_deployment(Descriptor(containers=apart, name="d"), TWO).gears] == [A, B, B]
    with pytest.raises(PreconditionFailed, match="its Affinity is host=elsewhere"):
        plan_deployment(web(1, affinity="host=elsewhere"), TWO)


def test_an_affinity_that_is_new_moves_what_it_is_about() -> None:
    plan = plan_deployment(web(2), TWO)
    plan = plan_deployment(again(plan, containers=web(2, affinity=f"host={B}").containers), TWO)
    assert [(g.id, g.on, g.moved_from) for g in plan.gears] == [("web-1", B, A), ("web-2", B, "")]


def test_a_host_port_is_given_once_a_host() -> None:
    fixed = web(2, public_ports=(PublicPort(internal=8080, external=80),))
    assert [g.on for g in plan_deployment(fixed, TWO).gears] == [A, B]
    with pytest.raises(PreconditionFailed, match=r"web-1 has port 80/tcp"):
        plan_deployment(fixed, [A])
    pair = PortPair(internal=1, external=80)
    there = There({A: Deployed(others=(OtherGear(id="old", ports=(pair,)),)), B: Deployed()})
    with pytest.raises(PreconditionFailed, match=r"hostA: old has port 80/tcp; hostB:1234: web-1 has port"):
        plan_deployment(fixed, TWO, there)


def test_memory_that_is_asked_for_aloud_must_be_there() -> None:
    giga = 1 << 30
    there = There({A: Deployed(memory=2 * giga), B: Deployed(memory=8 * giga)})
    big = {"limits": msgspec.convert({"Memory": "1g"}, type(web(1).containers[0].limits))}
    assert [g.on for g in plan_deployment(web(6, **big), TWO, there).gears].count(A) == 2
    with pytest.raises(PreconditionFailed, match="0M of memory left, 1024M needed"):
        plan_deployment(web(11, **big), TWO, there)
    # What is left to the defaults is no promise.
    assert len(plan_deployment(web(60), TWO, there).gears) == 60


def test_a_gear_of_anothers_is_left_alone() -> None:
    there = There({A: Deployed(others=(OtherGear(id="web-1"),))})
    with pytest.raises(AlreadyExists, match="web-1 on hostA is there already, and is part of no deployment"):
        plan_deployment(web(1), [A], there)
    assert plan_deployment(web(1), [A], there, adopt=True).gears[0].added


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"links": (Link(to="db"),)}, "there is no container 'db' for a link of web"),
        ({"links": (Link(to="web", ports=(8081,)),)}, "target port 8081 on web is not found"),
        ({"public_ports": ()}, "target web has no public ports to link to from web"),
        (
            {"links": (Link(to="web", alias_ports=(PublicPort(internal=8080, external=1),)),
                       Link(to="web", match_port=True))},
            "links ask for port 8080 of web as 1 and 8080",
        ),
        ({"image": "No Such"}, "web: 'No Such' cannot name an image"),
        ({"labels": {"a\nb": "c"}}, "web: .* cannot name a label"),
        ({"slice": "system"}, "web: there is no slice"),
        ({"volumes": ("/a:/b:/c:/d",)}, "is no volume"),
    ],
)  # fmt: skip
def test_what_a_descriptor_cannot_say(changes: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        plan_deployment(web(2, **changes), TWO)


def test_more_links_than_a_gear_has_are_no_plan() -> None:
    with pytest.raises(Invalid, match="each web would have 257 links, and a gear has 256 at most"):
        plan_deployment(web(257), TWO)


def test_udp_and_tcp_of_one_number_share_an_address() -> None:
    ports = (PublicPort(internal=53), PublicPort(internal=53, protocol="udp"))
    plan = plan_deployment(web(2, public_ports=ports, links=(Link(to="web", match_port=True),)), TWO)
    assert [f"{p.target.host}/{p.protocol}" for g in plan.gears for p in g.instance.ports if p.target] == [
        "127.0.0.1/tcp", "127.0.0.1/udp", "127.0.0.2/tcp", "127.0.0.2/udp",
    ]  # fmt: skip


def test_addresses_skip_what_no_host_can_have() -> None:
    plan = plan_deployment(web(256, links=(Link(to="web", non_local=True, match_port=True),)), TWO)
    hosts = [port.target.host for gear in plan.gears for port in gear.instance.ports if port.target is not None]
    assert hosts[253:256] == ["192.168.1.254", "192.168.2.1", "192.168.2.2"]


def test_a_link_that_asks_for_more_moves_the_address_it_does_not_fit() -> None:
    plan = plan_deployment(web(2), TWO)
    plan = plan_deployment(
        again(plan, containers=web(2, links=(Link(to="web", match_port=True),)).containers), TWO
    )
    assert rows(plan) == [f"web-1 {A} 8080 -> 127.0.0.1:8080", f"web-2 {B} 8080 -> 127.0.0.2:8080"]


# --- what always holds

_HOSTS = st.lists(st.sampled_from(["a", "b", "c", "d:1234", "local"]), min_size=1, unique=True)
_NAMES = ("one", "two", "three")


@st.composite
def _descriptors(draw: st.DrawFn) -> Descriptor:
    names = _NAMES[: draw(st.integers(1, 3))]
    containers: list[Container] = []
    for name in names:
        links = draw(
            st.lists(
                st.builds(Link, to=st.sampled_from(names), non_local=st.booleans(), match_port=st.booleans()),
                max_size=3,
            )
        )
        ports = (PublicPort(internal=80), PublicPort(internal=5432))[: draw(st.integers(1, 2))]
        containers.append(
            Container(
                name=name,
                image="a/b",
                count=draw(st.integers(0, 6)),
                links=tuple(links),
                public_ports=ports,
                affinity=draw(st.sampled_from(["", "spread", "pack"])),
            )
        )
    return Descriptor(containers=tuple(containers), name="d")


def _targets(plan: Plan) -> dict[tuple[str, int], Target]:
    return {(g.id, p.internal): p.target for g in plan.gears for p in g.instance.ports if p.target is not None}


@given(_descriptors(), _HOSTS)
def test_the_same_question_has_the_same_answer(descriptor: Descriptor, hosts: list[str]) -> None:
    plan = plan_deployment(descriptor, hosts)
    assert plan == plan_deployment(descriptor, hosts)
    assert len(plan.gears) == sum(container.count or 0 for container in descriptor.containers)
    second = plan_deployment(again(plan), hosts)
    assert [(g.id, g.on) for g in second.gears] == [(g.id, g.on) for g in plan.gears]
    assert _targets(second) == _targets(plan)


@given(_descriptors(), _HOSTS)
def test_no_address_and_no_name_is_given_twice(descriptor: Descriptor, hosts: list[str]) -> None:
    plan = plan_deployment(descriptor, hosts)
    addresses = [(t.host, t.port) for t in _targets(plan).values()]
    assert len(addresses) == len(set(addresses))
    assert len({gear.id for gear in plan.gears}) == len(plan.gears)


@given(_descriptors(), _HOSTS, _HOSTS, st.lists(st.integers(0, 6), min_size=3, max_size=3))
def test_nothing_moves_that_need_not(
    descriptor: Descriptor, hosts: list[str], others: list[str], counts: list[int]
) -> None:
    """Scaled up and down, hosts added and left out: who can stay stays, at the address it had."""
    before = plan_deployment(descriptor, hosts)
    containers = tuple(
        msgspec.structs.replace(container, count=count)
        for container, count in zip(descriptor.containers, counts, strict=False)
    )
    after = plan_deployment(again(before, containers=containers), others)
    was = {gear.id: gear.on for gear in before.gears}
    for gear in after.gears:
        if was.get(gear.id) in others:
            assert gear.on == was[gear.id]
            assert not gear.moved_from
        elif gear.id in was:
            assert gear.moved_from == was[gear.id]
    had = _targets(before)
    assert all(target == had[key] for key, target in _targets(after).items() if key in had)
    for container, known in zip(containers, descriptor.containers, strict=True):
        ids = [gear.id for gear in after.gears if gear.instance.container == container.name]
        assert len(ids) == container.count
        if (container.count or 0) <= (known.count or 0):
            assert set(ids) <= set(was)


@given(st.integers(1, 40), st.integers(1, 7))
def test_spread_is_even(count: int, hosts: int) -> None:
    plan = plan_deployment(web(count), [f"h{n}" for n in range(hosts)])
    each = [sum(gear.on == f"h{n}" for gear in plan.gears) for n in range(hosts)]
    assert max(each) - min(each) <= 1


# --- what is said about it


def test_the_schema_that_is_shipped_is_the_programs() -> None:
    shipped = json.loads(Path("examples/deployment.schema.json").read_text())
    assert shipped == schema(), "gear deploy --schema > examples/deployment.schema.json"


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*_*.*")), ids=str)
def test_the_examples_can_be_planned(path: Path) -> None:
    descriptor = msgspec.structs.replace(parse_descriptor(path.read_text(), str(path)), name="example")
    plan = plan_deployment(descriptor, ("h1", "h2", "h3"))
    assert len(plan.gears) > 1
    assert any(gear.links for gear in plan.gears)


def test_every_key_has_its_line_in_the_reference() -> None:
    page = Path("docs/DEPLOY.md").read_text()
    found = schema()["$defs"]
    for word in ("Descriptor", "Container", "Link", "PublicPort"):
        for key in found[word]["properties"]:
            assert f"`{key}`" in page or f'"{key}"' in page, f"docs/DEPLOY.md does not say what {word}.{key} is"
