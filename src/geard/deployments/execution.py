"""Carrying out a plan: the one part of deployments that changes anything.

    1  what has a host port that another needs is removed
    2  new gears, and those that do not run, are installed, which settles their host ports
    3  … are linked
    4  … are started, and awaited where something that runs is led to them next, or makes way for them
    5  gears that are there are linked anew, while they run: only now is there somebody at the far ends
    6  gears that are to be another are installed again, a few of each container at a time
    7  what is not wanted any more is removed: nobody is linked to it by now

Hosts are asked side by side. What fails holds up that gear, and steps 6 and 7: nothing that runs is touched for
the sake of something that does not. Each request's id follows from the run's, so that a run which is killed and
repeated joins what is under way.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from geard.cli.asking import session
from geard.containers.requests import (
    DeleteContainer,
    InstallContainer,
    RollBackContainer,
    StartContainer,
    StopContainer,
)
from geard.deployments.answering import await_answers
from geard.deployments.descriptor import Descriptor, Instance, Leaving
from geard.deployments.found import There, address_of
from geard.deployments.linking import links_of, own_links
from geard.deployments.plan import Plan, Planned, Removal
from geard.deployments.progress import Key, Lines
from geard.deployments.requests import DeployedGear
from geard.deployments.survey import survey
from geard.environments.requests import EnvironmentPart, SetEnvironment
from geard.failures import Failure
from geard.identifiers import derived_request_id, parse_place
from geard.links.requests import ContainerLinks, LinkContainers, NetworkLink
from geard.ports.requests import PortPair
from geard.request import Answer, Progress, Request
from geard.words import encode, part_of, read

R = TypeVar("R")

AT_ONCE_ON_A_HOST = 16
"""an agent does of these as many at once as its host has room for; the first moments of a program take none"""

Job = tuple[str, Key, Callable[[], None]]
"""the queue it stands in, the gear it is about, the deed"""


@dataclass
class Outcome:
    """What came of a run."""

    did: dict[Key, str] = field(default_factory=dict[Key, str])
    """what each gear that was touched has become: added, changed, linked, moved, removed"""
    failures: dict[Key, Failure] = field(default_factory=dict[Key, Failure])
    left: list[str] = field(default_factory=list[str])
    """what was not begun, in words"""
    undone: list[str] = field(default_factory=list[str])
    """what was taken back"""
    seconds: float = 0.0


class Run:
    """One execution of a plan. `save` is given the descriptor as it has to be written down, before anything is
    changed and whenever something is known that was not.
    """

    def __init__(
        self,
        plan: Plan,
        there: There,
        id: str,
        save: Callable[[Descriptor], None],
        *,
        at_once: int = 1,
        quiet: bool = False,
    ) -> None:
        self.plan, self.there, self.id, self.save = plan, there, id, save
        self.at_once = at_once
        self.outcome = Outcome()
        busy = [(g.id, g.on) for g in plan.gears if g.added or g.changed or g.relinked]
        self.lines = Lines(
            list(dict.fromkeys([*busy, *((gone.id, gone.on) for gone in plan.removed)])), quiet=quiet
        )
        self._lock = threading.Lock()
        self._ports: dict[Key, tuple[PortPair, ...]] = {}
        self._addresses = {(g.id, g.on): g.before.address for g in plan.gears if g.before is not None}
        self._removed: set[Key] = set()
        self._bug: BaseException | None = None

    def carry_out(self) -> Outcome:
        plan, began = self.plan, time.monotonic()
        self._note(unfinished=self.id)
        new = [gear for gear in plan.gears if gear.comes_up]
        relinked = [gear for gear in plan.gears if gear.relinked and not gear.comes_up]
        changed = [gear for gear in plan.gears if gear.changed and not gear.comes_up]
        going = [gone for gone in plan.removed if not gone.first]
        await_new = bool(relinked or changed or going)
        self._all((g.on, (g.id, g.on), self._remove(g)) for g in plan.removed if g.first)
        self._all((gear.on, (gear.id, gear.on), self._install(gear)) for gear in new)
        self._note(unfinished=self.id)
        if any(gear.links for gear in new):
            self._learn_addresses(new)
        links = links_of(plan.descriptor, self._instances(), self.there)
        self._link([gear for gear in new if gear.links or gear.relinked], links, "linked")
        self._all((gear.on, (gear.id, gear.on), self._start(gear, wait=await_new)) for gear in new)
        self._link(relinked, links, "links changed")
        if not self.outcome.failures:
            self._all(
                ((gear.instance.container, (gear.id, gear.on), self._change(gear)) for gear in changed),
                at_once=self.at_once,
                until_failure=True,
            )
        if not self.outcome.failures:
            self._all((gone.on, (gone.id, gone.on), self._remove(gone)) for gone in going)
        did, order = self.outcome.did, [*((g.id, g.on) for g in plan.gears), *((g.id, g.on) for g in plan.removed)]
        self.outcome.did = {key: did[key] for key in order if key in did}
        self.outcome.left = self._left(changed, going)
        self._note(unfinished="")
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def roll_back(self, before: Descriptor) -> None:
        """Have again what there was: what was added goes, what was changed or removed comes back as it was."""
        plan, did = self.plan, self.outcome.did
        jobs: list[Job] = []
        tried = {*did, *self.outcome.failures}
        for gear in plan.gears:
            key = (gear.id, gear.on)
            if gear.added and key in tried:
                jobs.append((gear.on, key, self._undo(key, "removed again", self._undo_added(gear))))
            elif gear.before is not None and key in tried:
                jobs.append((gear.on, key, self._undo(key, "as it was", self._undo_changed(gear, gear.before))))
        for gone in plan.removed:
            if (gone.id, gone.on) in self._removed and gone.before is not None:
                key = (gone.id, gone.on)
                jobs.append((gone.on, key, self._undo(key, "there again", self._undo_removed(gone, gone.before))))
        self._all(jobs, whatever=True)
        self.save(msgspec.structs.replace(before, unfinished=""))

    # --- deeds

    def _install(self, gear: Planned) -> Callable[[], None]:
        def install() -> None:
            key = (gear.id, gear.on)
            with self.lines.phase(key, "installing", "installed"):
                if part_of(EnvironmentPart, gear.install.parts) is None:
                    # What an earlier gear of that name left.
                    self._send(gear.on, "environment", SetEnvironment(id=gear.id), _version(gear))
                wanted = msgspec.structs.replace(gear.install, started=False)
                answer = self._send(gear.on, "install", wanted, _version(gear))
            with self._lock:
                self._ports[key] = answer.ports
                self.outcome.did[key] = "installed"

        return install

    def _start(self, gear: Planned, *, wait: bool) -> Callable[[], None]:
        def start() -> None:
            key = (gear.id, gear.on)
            if key in self.outcome.failures:
                return
            places = self._places(gear) if wait else []
            with self.lines.phase(key, "starting", "started", last=not places):
                # One that is taken over may run already, as something else.
                request = gear.install if gear.adopted else StartContainer(id=gear.id)
                self._follow(gear.on, key, "start", request, _version(gear))
            self._await(key, places)
            self._did(key, "moved" if gear.moved_from else "added" if gear.added else "started")

        return start

    def _change(self, gear: Planned) -> Callable[[], None]:
        def change() -> None:
            key, before = (gear.id, gear.on), gear.before
            assert before is not None
            places = self._places(gear)
            with self.lines.phase(key, "changing", "changed", last=not places):
                self._did(key, "changing")
                if part_of(EnvironmentPart, gear.install.parts) is None and before.variables:
                    self._send(gear.on, "environment", SetEnvironment(id=gear.id), before.version)
                self._follow(gear.on, key, "change", gear.install, before.version)
            self._await(key, places)
            self._did(key, "changed")

        return change

    def _await(self, key: Key, places: Sequence[tuple[str, int]]) -> None:
        if places:
            with self.lines.phase(key, "to answer", "answers", last=True) as line:
                if not await_answers(places):
                    line.done_as = "does not answer"

    def _places(self, gear: Planned) -> list[tuple[str, int]]:
        """Where others, and so this machine too, reach those of its ports that are linked to."""
        key, host = (gear.id, gear.on), address_of(gear.on, self.there)
        given = {(p.internal, p.protocol): p.external for p in self._ports.get(key, ())}
        return [
            (host, external)
            for port in gear.instance.ports
            if port.target is not None and port.protocol == "tcp"
            if (external := given.get((port.internal, port.protocol), port.external))
        ]

    def _remove(self, gone: Removal) -> Callable[[], None]:
        def remove() -> None:
            key = (gone.id, gone.on)
            with self.lines.phase(key, "removing", "removed", last=True):
                version = gone.before.version if gone.before is not None else ""
                self._follow(gone.on, key, "remove", DeleteContainer(id=gone.id), version)
            with self._lock:
                self._removed.add(key)
            self._did(key, "removed")

        return remove

    def _link(self, gears: Sequence[Planned], links: Mapping[str, tuple[NetworkLink, ...]], done: str) -> None:
        """One request a host: its gears' links change together."""
        by_host: dict[str, list[Planned]] = {}
        for gear in gears:
            if (gear.id, gear.on) not in self.outcome.failures:
                by_host.setdefault(gear.on, []).append(gear)

        def link(host: str, gears: Sequence[Planned]) -> Callable[[], None]:
            def deed() -> None:
                wanted = tuple(
                    ContainerLinks(id=gear.id, network_links=self._links(gear, links[gear.instance.container]))
                    for gear in gears
                )
                versions = " ".join(map(_version, gears))
                try:
                    self._follow(host, None, "link", LinkContainers(links=wanted), versions)
                except Failure as failure:
                    for gear in gears:
                        self._failed((gear.id, gear.on), failure)
                    return
                for gear in gears:
                    key, last = (gear.id, gear.on), not (gear.comes_up or gear.changed)
                    with self.lines.phase(key, "linking", done, last=last):
                        pass
                    self._did(key, "linked")

            return deed

        self._all((host, (host, host), link(host, those)) for host, those in by_host.items())

    def _links(self, gear: Planned, links: Sequence[NetworkLink]) -> tuple[NetworkLink, ...]:
        """What one gear is to be linked to; where one at the other end did not come up, it stays as it was."""
        wanted = own_links(links, gear.instance, self._addresses.get((gear.id, gear.on), ""))
        down = {
            (port.target.host, port.target.port, port.protocol)
            for other in self.plan.gears
            if other.comes_up and (other.id, other.on) in self.outcome.failures
            for port in other.instance.ports
            if port.target is not None
        }
        if gear.before is None or gear.comes_up or not down:
            return wanted
        was = {(link.from_host, link.from_port, link.protocol): link for link in gear.before.links}
        places = [(link.from_host, link.from_port, link.protocol) for link in wanted]
        kept = [was.get(place) if place in down else link for place, link in zip(places, wanted, strict=True)]
        return tuple(link for link in kept if link is not None)

    def _learn_addresses(self, added: Sequence[Planned]) -> None:
        """Of gears that are new; a link to oneself takes one's own."""
        found, silent = survey(self.plan.name, [gear.on for gear in added])
        for gear in added:
            if gear.on in silent:
                self._failed((gear.id, gear.on), silent[gear.on])
        for host, deployed in found.hosts.items():
            self._addresses |= {(gear.id, host): gear.address for gear in deployed.gears}

    # --- taking back

    def _undo(self, key: Key, what: str, deed: Callable[[], None]) -> Callable[[], None]:
        def undo() -> None:
            deed()
            with self._lock:
                self.outcome.undone.append(f"{key[0]} on {key[1]} is {what}")

        return undo

    def _undo_added(self, gear: Planned) -> Callable[[], None]:
        return lambda: self._follow(gear.on, None, "undo", DeleteContainer(id=gear.id), "")

    def _undo_changed(self, gear: Planned, before: DeployedGear) -> Callable[[], None]:
        def undo() -> None:
            if gear.relinked:
                self._undo_links(gear.on, before)
            begun = gear.comes_up or self.outcome.did.get((gear.id, gear.on)) in ("changing", "changed")
            if not (gear.changed and begun):
                return
            self._undo_variables(gear.on, before)
            request = RollBackContainer(id=gear.id, version=before.version)
            self._follow(gear.on, None, "undo", request, before.version)
            if not before.started:
                self._follow(gear.on, None, "undo", StopContainer(id=gear.id), before.version)

        return undo

    def _undo_removed(self, gone: Removal, before: DeployedGear) -> Callable[[], None]:
        def undo() -> None:
            self._undo_variables(gone.on, before)
            install = read(InstallContainer, {**before.asked, "Started": False})
            self._send(gone.on, "undo", install, before.version)
            self._undo_links(gone.on, before)
            if before.started:
                self._follow(gone.on, None, "undo", StartContainer(id=gone.id), before.version)

        return undo

    def _undo_variables(self, on: str, before: DeployedGear) -> None:
        self._send(on, "undo", SetEnvironment(id=before.id, variables=before.variables), before.version)

    def _undo_links(self, on: str, before: DeployedGear) -> None:
        links = (ContainerLinks(id=before.id, network_links=before.links),)
        self._follow(on, None, "undo", LinkContainers(links=links), before.version)

    # --- asking

    def _send(self, host: str, deed: str, request: Request[R], version: str) -> R:
        session.changes = True
        return session.transport(parse_place(host), self._request_id(host, deed, request, version)).send(request)

    def _follow(self, host: str, key: Key | None, deed: str, request: Request[Any], version: str) -> None:
        def heard(step: Answer) -> None:
            if key is not None and isinstance(step, Progress) and not step.result:
                self.lines.step(key, step.message)

        session.changes = True
        transport = session.transport(parse_place(host), self._request_id(host, deed, request, version))
        transport.send(request, follow=heard)

    def _request_id(self, host: str, deed: str, request: Request[Any], version: str) -> str:
        """The same for the same deed of the same run on the same gear, as it then was."""
        words = hashlib.sha256(encode(request)).hexdigest()
        return derived_request_id(f"{self.id} {host} {deed} {version} {type(request).__name__} {words}")

    # --- keeping account

    def _all(
        self,
        jobs: Iterable[Job],
        *,
        at_once: int = AT_ONCE_ON_A_HOST,
        until_failure: bool = False,
        whatever: bool = False,
    ) -> None:
        """Do them: queues side by side, of each queue so many at once, in order."""
        queues: dict[str, list[Job]] = {}
        for job in jobs:
            queues.setdefault(job[0], []).append(job)

        def work(queue: list[Job]) -> None:
            while self._bug is None and not (until_failure and self.outcome.failures):
                with self._lock:
                    if not queue:
                        return
                    _, key, deed = queue.pop(0)
                try:
                    deed()
                except Failure as failure:
                    self._failed(key, failure, again=whatever)
                except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                    self._bug = error

        threads = [
            threading.Thread(target=work, args=(queue,), name=f"deploy {name}", daemon=True)
            for name, queue in queues.items()
            for _ in range(min(at_once, len(queue)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # so that Ctrl-C ends the wait
        if self._bug is not None:
            raise self._bug

    def _failed(self, key: Key, failure: Failure, *, again: bool = False) -> None:
        with self._lock:
            if again and key in self.outcome.failures:
                failure = type(failure)(f"taking it back failed too: {failure.message}", hint=failure.hint)
                key = (f"{key[0]} ", key[1])
            self.outcome.failures[key] = failure
        if not again:
            self.lines.fail(key, failure.message)

    def _did(self, key: Key, what: str) -> None:
        with self._lock:
            self.outcome.did[key] = what

    def _left(self, changed: Sequence[Planned], going: Sequence[Removal]) -> list[str]:
        tried = {
            *self.outcome.failures,
            *(k for k, what in self.outcome.did.items() if what in ("changed", "removed")),
        }
        left = [f"{g.id} on {g.on} is as it was" for g in changed if (g.id, g.on) not in tried]
        return left + [f"{g.id} on {g.on} is still there" for g in going if (g.id, g.on) not in tried]

    def _instances(self) -> tuple[Instance, ...]:
        """The plan's, with the host ports that are known by now."""
        found: list[Instance] = []
        for gear in self.plan.gears:
            given = {
                (pair.internal, pair.protocol): pair.external for pair in self._ports.get((gear.id, gear.on), ())
            }
            ports = tuple(
                msgspec.structs.replace(port, external=given.get((port.internal, port.protocol), port.external))
                for port in gear.instance.ports
            )
            found.append(msgspec.structs.replace(gear.instance, ports=ports))
        return tuple(found)

    def _note(self, *, unfinished: str) -> None:
        leaving = [Leaving(id=g.id, on=g.on) for g in self.plan.removed if (g.id, g.on) not in self._removed]
        self.save(
            msgspec.structs.replace(
                self.plan.descriptor,
                instances=self._instances(),
                leaving=(*leaving, *self.plan.postponed),
                unfinished=unfinished,
            )
        )


def _version(gear: Planned) -> str:
    """The version that was found there."""
    return gear.before.version if gear.before is not None else ""
