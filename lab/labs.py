"""Several hosts together: a lab, known by its name. Labs do not know of each other.

Every change is made under the lab's lock and begins with looking at what is there, so it may be asked for
again after a kill.
"""

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import applications, base, builders, geard, images, machine, network
from lab.host import Host
from lab.machine import LabError, locked, say, write
from lab.network import Network
from lab.places import STATE, directory_of

NAME_OF_LAB = re.compile(r"[a-z][a-z0-9-]{0,19}")
NAME_OF_HOST = re.compile(r"h([1-9][0-9]{0,2})")
SUBNETS = 256
HOSTS = 200


@dataclass(frozen=True)
class HostStatus:
    """What `status` tells of a host."""

    name: str
    address: str
    address6: str
    state: str
    leader: int | None
    netns: str
    suite: str


class Lab:
    def __init__(self, name: str) -> None:
        if not NAME_OF_LAB.fullmatch(name):
            raise LabError(
                f"{name} is no name for a lab: a small letter, then up to 19 of small letters, digits, -"
            )
        self.name = name
        self.directory = STATE / name

    def host(self, name: str) -> Host:
        """A host that exists."""
        host = next((host for host in self.hosts() if host.name == name), None)
        if host is None:
            raise LabError(
                f"lab {self.name} has no host {name}; `scripts/lab up` makes hosts, `status` lists them"
            )
        return host

    def hosts(self) -> list[Host]:
        net = self.network()
        if net is None:
            return []
        names = [path.name for path in self.directory.glob("hosts/h*")]
        return sorted(
            (self.plan_host(name, net) for name in names if NAME_OF_HOST.fullmatch(name)),
            key=lambda host: host.index,
        )

    def plan_host(self, name: str, net: Network) -> Host:
        match = NAME_OF_HOST.fullmatch(name)
        if match is None:
            raise LabError(f"{name} is no host's name: they are h1, h2, …")
        return Host(name, int(match[1]), net, directory_of(self.name, name))

    def network(self) -> Network | None:
        path = self.directory / "lab.json"
        return Network(self.name, json.loads(path.read_text())["subnet"]) if path.exists() else None

    def lock(self) -> AbstractContextManager[None]:
        return locked(STATE / ".locks" / self.name)

    # up

    def up(self, count: int, suite: str | None, bare: bool) -> None:
        """Have hosts h1 to h<count>, and those there are already, booted and with geard."""
        if not 0 <= count <= HOSTS:
            raise LabError(f"a lab has up to {HOSTS} hosts")
        machine.prepare()
        package = None if bare else geard.package()
        with self.lock():
            net = self.network() or self.choose_network()
            names = {host.name for host in self.hosts()} | {f"h{number}" for number in range(1, count + 1)}
            hosts = sorted((self.plan_host(name, net) for name in names), key=lambda host: host.index)
            if not hosts:
                hosts = [self.plan_host("h1", net)]
            network.make_bridge(net)
            down = [host for host in hosts if host.leader() is None]
            for host in down:
                self.start(host, suite)
            for_each(hosts, lambda host: self.finish(host, package, started=host in down))

    def finish(self, host: Host, package: Path | None, *, started: bool) -> None:
        """Wait until a host is up, and give it what every host has."""
        state = host.wait()
        if state == "down" and not started:  # it was on its way there when we looked
            self.start(host, None)
            state = host.wait()
        if state == "down":
            raise LabError(f"{host.name} did not boot; see {host.log('console.log')}")
        loaded = host.directory / "images-loaded"
        if not loaded.exists():
            host.run(*images.load_command())
            write(loaded, "")
        new = geard.install(host, package) if package else False
        say(f"{host.name} {host.address} {state}{', geard installed' if new else ''}")

    def start(self, host: Host, suite: str | None) -> None:
        record = host.record()
        if record and suite and record.suite != suite:
            raise LabError(f"{host.name} is there already, with {record.suite}; `scripts/lab down` first")
        if record:
            host.start(base.Base(record.suite, tuple(Path(layer) for layer in record.layers)))
        else:
            host.start(base.ready(suite or base.DEFAULT_SUITE))

    def choose_network(self) -> Network:
        """Put on record a subnet that no other lab of this machine has."""
        with locked(STATE / ".locks" / "subnets.lock"):
            taken = {json.loads(path.read_text())["subnet"] for path in STATE.glob("*/lab.json")}
            free = next((number for number in range(SUBNETS) if number not in taken), None)
            if free is None:
                raise LabError(f"there are {SUBNETS} labs on this machine")
            write(self.directory / "lab.json", json.dumps({"subnet": free}) + "\n")
        return Network(self.name, free)

    # the rest

    def load(self, names: Sequence[str]) -> None:
        """Have images of applications in all hosts that are up; they are made if they are not there."""
        sets = (applications.applications(), builders.builders())
        all_names = [[application.image.name for application in each] for each in sets]
        unknown = [name for name in names if not any(name in each for each in all_names)]
        if unknown or not names:
            known = ", ".join(name for each in all_names for name in each)
            raise LabError(f"no image {unknown[0]}: {known}" if unknown else f"which images? There are {known}")
        machine.prepare()
        with self.lock():
            up = [host for host in self.hosts() if host.leader() is not None]
            for each, known_names in zip(sets, all_names, strict=True):
                if wanted := [name for name in names if name in known_names]:
                    directory = applications.ready(each)
                    for_each(up, partial(applications.load, wanted=wanted, directory=directory))

    def reboot(self, host: Host) -> None:
        """Shut down in good order, then start again; its network begins anew, as on a real machine."""
        with self.lock():
            host.power_off()
            self.start(host, None)
            self.finish(host, None, started=True)

    def kill(self, host: Host) -> None:
        """Cut the power."""
        with self.lock():
            host.clear()

    def remove(self, host: Host) -> None:
        """Leave nothing of one host."""
        with self.lock():
            host.remove()

    def down(self) -> None:
        """Remove all hosts, their network and their data, in whatever state they are."""
        machine.prepare()
        with self.lock():
            net = self.network() or Network(self.name, 0)
            for_each(self.hosts(), Host.remove)
            for process in network.processes(net.bridge_namespace):
                machine.attempt(["kill", "-KILL", str(process)])
            network.remove_namespace(net.bridge_namespace)
            machine.remove(self.directory)

    def status(self) -> list[HostStatus]:
        return [
            HostStatus(
                name=host.name,
                address=host.address,
                address6=host.network.address6(host.index),
                state=host.state(),
                leader=host.leader(),
                netns=host.namespace,
                suite=record.suite,
            )
            for host in self.hosts()
            if (record := host.record())
        ]


def for_each(hosts: list[Host], deed: Callable[[Host], None]) -> None:
    """Do it to all hosts at once; the first that fails is told when all are done."""
    with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
        results = [pool.submit(deed, host) for host in hosts]
    for result in results:
        result.result()
