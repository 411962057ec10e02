"""Real programs over three hosts, by the descriptors in examples/ as they stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.labs import Lab
from tests.lab.conftest import APP, Shell, eventually
from tests.lab.fleet import clear, deploy, fleet, listens_afar, seen, write

pytestmark = pytest.mark.lab

EXAMPLES = Path("examples")
HOSTS = ("h1", "h2", "h3")
Three = tuple[Shell, ...]


@pytest.fixture(scope="module")
def three(lab: Lab, h1: Shell) -> Generator[Three]:
    with fleet(lab, h1, 3) as hosts:
        h1.lab_does("images", "etcd", "haproxy", "shop-app", "redis", "postgres")
        clear(hosts)
        yield hosts
        clear(hosts[:1])


def example(host: Shell, name: str, change: Callable[[str], str] = str) -> None:
    """Have a descriptor of examples/ in the host's folder."""
    write(host, name, change((EXAMPLES / name).read_text()))


def gears(hosts: Three) -> list[list[str]]:
    return [host.gear("list", "-a", "-q").stdout.split() for host in hosts]


def settled(host: Shell, file: str) -> None:
    assert "Nothing to change" in deploy(host, "deploy", file).stdout


def test_each_finds_the_other_on_another_host(three: Three) -> None:
    h1, h2, _ = three
    example(h1, "simple_deploy.json")
    deploy(h1, "deploy", "simple_deploy.json", *HOSTS)
    assert gears(three) == [["web-1"], ["web-2"], []]
    eventually(lambda: seen(h1, "web-1", 8081) == "Hello from web-2")
    eventually(lambda: seen(h2, "web-2", 8080) == "Hello from web-1")
    deploy(h1, "undeploy", "simple_deploy.json")


# --- a database that is idle, and who uses it from another host (examples/database_asleep)

# What the agent's look says of all gears, and what it would say half an hour later: who would fall asleep.
LOOK = """
from geard import catalog
from geard.host.here import this_host
from geard.idling.services import Watch
catalog.load()
watch = Watch(this_host())
print([watch.look({"ctr-db.service"}, now) for now in (0, 1800)][1])
"""
PSQL = ["podman", "exec", "ctr-asker", "env", "PGPASSWORD=opensesame", "/usr/lib/postgresql/17/bin/psql"]


def would_sleep(host: Shell) -> bool:
    return "db" in host.run(["/opt/geard/bin/python3", "-c", LOOK]).stdout


def test_an_idle_database_is_woken_from_another_host_and_a_long_connection_keeps_it_awake(three: Three) -> None:
    h1, h2, _ = three
    clear(three)
    h1.gear("secret", "create", "db-password", "--replace", stdin="opensesame")
    image = ("install", "geard/postgres")
    h1.gear(
        *image, "db", "-v", "/data", "--secret", "db-password", "-p", "5432:5432", "--idle-after", "15m",
        "--wake-when", "ready", "--start",
    )  # fmt: skip
    h2.gear(*image, "asker", "-p", "none", "-n", f"5433:{h1.address}:5432", "--start", "--", "sleep", "86400")
    eventually(lambda: h2.status("asker")["ActiveState"] == "active", 60)

    def ask(query: str) -> str:
        said = h2.run([*PSQL, "-h", "127.0.0.1", "-p", "5433", "-U", "postgres", "-Atc", query], check=False)
        return said.stdout.strip() or said.stderr

    eventually(lambda: ask("create table if not exists visits as select 7 as count") != "", 60)
    eventually(lambda: ask("select count from visits") == "7", 60)
    for depth in ("stop", "freeze"):
        h1.gear("idle", "--depth", depth, "db")
        eventually(lambda: "5432" in h1.sh("nft list table inet geard_idle").stdout, 60)
        assert ask("select count, inet_client_addr() from visits") == f"7|{h2.address}", (
            "by a link, the first time"
        )
        eventually(lambda: h1.status("db")["ActiveState"] == "active", 60)
        caller = h1.gear("events", "-o", "json", "db").stdout
        assert f"from {h2.address} to port 5432" in caller, "its own address, nothing stands between"
    eventually(lambda: would_sleep(h1), 60)
    silent = [*PSQL, "-h", "127.0.0.1", "-p", "5433", "-U", "postgres", "-c", "select pg_sleep(600)"]
    h2.run(["systemd-run", "-q", "--collect", "--unit=silent", *silent])
    eventually(
        lambda: ask("select count(*) from pg_stat_activity where query like 'select pg_sleep(%'") == "1", 60
    )
    assert not would_sleep(h1), "somebody is connected, and silent"
    h2.run(["systemctl", "stop", "silent"])
    # podman leaves in there what its client has begun.
    ask("select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(%'")
    eventually(lambda: would_sleep(h1), 60)
    clear(three)
    h1.gear("secret", "remove", "db-password")


# --- a replica set


@pytest.fixture(scope="module")
def members(three: Three) -> Generator[Three]:
    """The three hosts, a member of an etcd cluster on each."""
    h1 = three[0]
    example(h1, "replica_set.yaml")
    deploy(h1, "deploy", "replica_set.yaml", *HOSTS)
    yield three
    clear(three)


def etcdctl(host: Shell, gear: str, *words: str, at: int = 0, check: bool = True) -> str:
    """Ask the cluster from inside a member; one of it where `at` says which."""
    numbers = [at] if at else [1, 2, 3]
    places = ",".join(f"http://192.168.1.{number}:2379" for number in numbers)
    return host.inside(
        gear, "etcdctl", f"--endpoints={places}", "--command-timeout=3s", *words, check=check
    ).stdout


def statuses(host: Shell, gear: str) -> dict[int, dict[str, Any]]:
    """What each member that answers says of itself, by its number."""
    said = etcdctl(host, gear, "endpoint", "status", "-w", "json", check=False)
    found: list[dict[str, Any]] = json.loads(said or "[]")
    return {int(each["Endpoint"].split(".")[3].partition(":")[0]): each["Status"] for each in found}


def agreed(host: Shell, gear: str, *numbers: int) -> dict[int, dict[str, Any]]:
    """Their statuses, where just these answer and have one of themselves as the leader; else nothing."""
    found = statuses(host, gear)
    leaders = {status["leader"] for status in found.values()}
    ids = {status["header"]["member_id"] for status in found.values()}
    return found if tuple(found) == numbers and len(leaders) == 1 and leaders <= ids else {}


def together(host: Shell, gear: str, *numbers: int) -> dict[int, dict[str, Any]]:
    """The same, waited for."""
    found: dict[int, dict[str, Any]] = {}

    def asked() -> bool:
        found.clear()
        found.update(agreed(host, gear, *numbers))
        return bool(found)

    eventually(asked, 60)
    return found


def third_leads(host: Shell, gear: str) -> bool:
    """Whether the third member is the leader; it is asked to be."""
    found = agreed(host, gear, 1, 2, 3)
    third = found[3]["header"]["member_id"] if found else 0
    for number, status in found.items():
        if status["header"]["member_id"] == status["leader"] != third:
            etcdctl(host, gear, "move-leader", f"{third:x}", at=number, check=False)
    return bool(found) and found[3]["leader"] == third


def written(host: Shell, gear: str, key: str, value: str) -> bool:
    return etcdctl(host, gear, "put", key, value, check=False).strip() == "OK"


def has(host: Shell, gear: str, number: int, key: str, value: str) -> bool:
    """Whether a member has it itself, without asking the others."""
    words = ("get", "--consistency=s", "--print-value-only", key)
    return etcdctl(host, gear, *words, at=number, check=False).strip() == value


def test_the_members_form_a_cluster(members: Three) -> None:
    """Each is known to all by the address that it has wherever it runs, and by its own port."""
    h1, h2, h3 = members
    together(h1, "db-1", 1, 2, 3)
    eventually(lambda: written(h1, "db-1", "fruit", "apple"), 60)
    for host, gear, number in ((h1, "db-1", 1), (h2, "db-2", 2), (h3, "db-3", 3)):
        eventually(partial(has, host, gear, number, "fruit", "apple"))


def test_a_host_dies_and_comes_back(members: Three) -> None:
    """The leader's: the others elect another and go on; it finds its data, and catches up."""
    h1, _, h3 = members
    third = together(h1, "db-1", 1, 2, 3)[3]["header"]["member_id"]
    eventually(lambda: third_leads(h1, "db-1"), 60)
    h3.lab_does("kill", "h3")
    together(h1, "db-1", 1, 2)
    eventually(lambda: written(h1, "db-1", "fruit", "pear"), 60)
    h3.lab_does("up")
    eventually(lambda: has(h3, "db-3", 3, "fruit", "pear"), 90)
    assert together(h1, "db-1", 1, 2, 3)[3]["header"]["member_id"] == third
    eventually(partial(listens_afar, h3), 60)
    settled(h1, "replica_set.yaml")


def test_a_member_moves_to_another_host(members: Three) -> None:
    """It has the address it had; its data stay behind, so it joins anew and is given all again."""
    h1 = members[0]
    before = together(h1, "db-1", 1, 2, 3)[3]["header"]["member_id"]
    eventually(lambda: written(h1, "db-1", "fruit", "plum"), 60)
    deploy(h1, "deploy", "replica_set.yaml", "h1", "h2")
    assert gears(members) == [["db-1", "db-3"], ["db-2"], []]
    assert together(h1, "db-1", 1, 2, 3)[3]["header"]["member_id"] != before
    eventually(lambda: has(h1, "db-3", 3, "fruit", "plum"), 60)
    assert etcdctl(h1, "db-1", "member", "list").count("\n") == 3
    settled(h1, "replica_set.yaml")


def test_a_host_that_does_not_answer_is_done_without(members: Three) -> None:
    """Its member comes up elsewhere. When it answers again, what it has is out of the cluster, and goes."""
    h1, h2, h3 = members
    example(h1, "replica_set.yaml")
    deploy(h1, "deploy", "replica_set.yaml", "h1", "h2")
    together(h1, "db-1", 1, 2, 3)
    h2.lab_does("kill", "h2")
    together(h1, "db-1", 1, 3)
    said = deploy(h1, "deploy", "replica_set.yaml", "h1", "h3", check=False)
    assert said.returncode != 0 and "h2" in said.stderr and "--on-unreachable skip" in said.stderr
    assert h3.gear("list", "-a", "-q").stdout == ""
    deploy(h1, "deploy", "replica_set.yaml", "h1", "h3", "--on-unreachable", "skip")
    together(h1, "db-1", 1, 2, 3)
    eventually(lambda: written(h1, "db-1", "fruit", "fig"), 60)
    eventually(lambda: has(h3, "db-2", 2, "fruit", "fig"), 60)
    h2.lab_does("up")
    eventually(lambda: "another has taken this member's place" in h2.gear("log", "db-2").stdout, 60)
    eventually(partial(listens_afar, h2), 60)
    deploy(h1, "deploy", "replica_set.yaml")
    assert gears(members) == [["db-1", "db-3"], [], ["db-2"]]
    settled(h1, "replica_set.yaml")
    together(h1, "db-1", 1, 2, 3)
    eventually(lambda: has(h3, "db-2", 2, "fruit", "fig"), 60)


# --- a proxy, applications, a store


def apps(count: int, memory: str = "128m") -> Callable[[str], str]:
    return lambda text: text.replace("count: 3", f"count: {count}").replace("memory: 128m", f"memory: {memory}")


@pytest.fixture
def shop(three: Three) -> Generator[Three]:
    h1 = three[0]
    clear(three)
    example(h1, "three_tiers.yaml")
    deploy(h1, "deploy", "three_tiers.yaml", *HOSTS)
    eventually(lambda: all_answer(h1, 3), 60)
    yield three
    clear(three)


def who_answers(host: Shell) -> list[str]:
    """All who do: everybody has a turn in thirty, whoever else asks meanwhile."""
    said = host.run(["curl", "-sS", "-m", "20", "http://h1/?[1-30]"], check=False).stdout
    return sorted({str(json.loads(line).get("From")) for line in said.splitlines() if line.startswith("{")})


def all_answer(host: Shell, count: int) -> bool:
    """Whether just the first so many do."""
    return who_answers(host) == numbered(count)


def numbered(count: int) -> list[str]:
    return [f"shop-app-{number + 1}" for number in range(count)]


def test_scaled_and_changed_under_load(shop: Three) -> None:
    """3, 5, each of them another, 2: everybody is answered all the time."""
    h1, h2, _ = shop
    h2.run(["tee", "/root/load.py"], stdin=Path(__file__).with_name("load.py").read_text())
    h2.sh("rm -f /root/load.json /root/load.stop")
    unit = ["systemd-run", "-q", "--collect", "--unit=load", "-p", "StandardOutput=file:/root/load.json"]
    h2.run([*unit, "python3", "-S", "/root/load.py", "http://h1/", "/root/load.stop"])
    for count, memory in ((5, "128m"), (5, "160m"), (2, "160m")):
        example(h1, "three_tiers.yaml", apps(count, memory))
        deploy(h1, "deploy", "three_tiers.yaml")
        eventually(partial(all_answer, h1, count), 60)
    h2.sh("touch /root/load.stop")
    eventually(lambda: h2.run(["cat", "/root/load.json"]).stdout.endswith("}\n"), 60)
    found = json.loads(h2.run(["cat", "/root/load.json"]).stdout)
    print(found)
    assert found["Failed"] == []
    assert sorted(found["By"]) == numbered(5)
    assert sorted(name for names in gears(shop) for name in names if "app" in name) == numbered(2)
    visits = int(h1.run(["curl", "-sS", "http://h1/"]).stdout.partition('"Visit": ')[2].partition("}")[0])
    assert visits > found["Requests"]


# --- a run that meets trouble


def test_an_image_that_one_host_has_not(three: Three) -> None:
    """The others come up, that host's fault is told; when it has the image the same command goes on."""
    h1, h2, h3 = three
    clear(three)
    late = "docker.io/geard/late"
    for host in (h1, h2):
        host.run(["podman", "tag", APP, late])
    text = json.loads((EXAMPLES / "simple_deploy.json").read_text())
    text["Containers"][0] |= {"Image": "geard/late", "Count": 3}
    write(h1, "late.json", json.dumps(text))
    try:
        said = deploy(h1, "deploy", "late.json", *HOSTS, check=False)
        assert said.returncode != 0
        assert "web-3 on h3" in said.stderr and "geard/late" in said.stderr
        eventually(lambda: seen(h1, "web-1", 8081) == "Hello from web-2")
        h3.run(["podman", "tag", APP, late])
        deploy(h1, "deploy", "late.json", *HOSTS)
        eventually(lambda: seen(h1, "web-1", 8082) == "Hello from web-3")
        eventually(lambda: seen(h3, "web-3", 8080) == "Hello from web-1")
        settled(h1, "late.json")
    finally:
        clear(three)
        for host in three:
            host.run(["podman", "untag", APP, late], check=False)
