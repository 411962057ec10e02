"""The same gears on three hosts: by `gear deploy` at one of them, and by a shell loop of `podman run` on each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.host import Host

from bench.inside.deployed import CONTAINERS, EACH, HOSTS
from bench.parts import Bench


def deploying(bench: Bench, times: int) -> None:
    """Turn about, after a small one of each for what only a host's first pays."""
    hosts = hosts_afar(bench)
    for host in hosts:
        invitation = host.run("sh", "-c", "gear host invite bench --scope admin 2>/dev/null")
        hosts[0].run("sh", "-c", invitation)
    facts = bench.found.facts
    facts |= {"deploy.hosts": len(hosts), "deploy.gears": len(CONTAINERS) * EACH}
    facts |= {"deploy.gears-silent": 0, "deploy.containers-silent": 0}
    for number in range(times + 1):
        turn(bench, hosts, EACH if number else 1, "deploy." if number else "deploy-warm.")


def hosts_afar(bench: Bench) -> list[Host]:
    """HOSTS, up, their agents listening for other machines."""
    bench.lab.up(len(HOSTS) + 1, None, bare=False)
    hosts = [bench.lab.host(name) for name in HOSTS]
    for host in hosts:
        bench.send(host)
        bench.part("hear-afar", on=host)
    return hosts


def turn(bench: Bench, hosts: Sequence[Host], each: int, into: str) -> None:
    first, facts = hosts[0], bench.found.facts
    bench.part("deploy", each, into=into, on=first)
    answering = sum(found["answering"] for found in at_all(bench, hosts, "answering"))
    facts["deploy.gears-silent"] += len(CONTAINERS) * each - answering
    bench.part("deploy-again", into=into, on=first)
    bench.part("stop-deployed", into=into, on=first)
    time.sleep(2)
    loops = at_all(bench, hosts, "loop")
    seconds = max(loop["ended"] for loop in loops) - min(loop["began"] for loop in loops)
    bench.found.samples.setdefault(f"{into}loop", []).append(seconds * 1_000)
    answering = sum(found["answering"] for found in at_all(bench, hosts, "answering"))
    facts["deploy.containers-silent"] += len(CONTAINERS) * each - answering
    at_all(bench, hosts, "end-loop")
    bench.part("undeploy", into=into, on=first)
    time.sleep(2)


def at_all(bench: Bench, hosts: Sequence[Host], part: str) -> list[dict[str, float]]:
    """The facts of each, asked at the same time."""

    def ask(host: Host) -> dict[str, float]:
        return bench.part(part, into=f"deploy-{host.name}.", on=host).facts

    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(ask, hosts))
