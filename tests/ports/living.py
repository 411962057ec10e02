"""The life of gears on a host of fakes, as far as ports are concerned: what operations do to the disk, what must
hold at every moment, and what must hold once the next agent has put right what was cut short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from tests.fakes.engine import FakeEngine, make_image
from tests.fakes.host import FakeHost
from tests.fakes.journal import FakeJournal
from tests.fakes.systemd import FakeSystemd

from geard import catalog
from geard.containers import deleting, installing, listing, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.requests import InstallContainer
from geard.host.engine import Image
from geard.host.paths import Paths
from geard.identifiers import new_request_id
from geard.ports import live
from geard.ports.pairs import changed_ports, check_pairs, parse_pairs
from geard.ports.requests import ChangePorts, InnerPort, PortPair, PublishedPorts
from geard.ports.reservations import owner
from geard.words import part_of

FACETS = catalog.load()
IDS = ("web", "db", "cache")
IMAGES = (
    make_image("docker.io/geard/sample", ports=((80, "tcp"), (53, "udp"))),
    make_image("docker.io/geard/sample", ports=((80, "tcp"), (443, "tcp")), content="newer"),
)
KILLS = ("unlink", "rmdir", "rename", "symlink", "link", "mkdir", "write", "fchmod")


class KilledError(BaseException):
    """The process ends here, and tidies nothing up."""


def host_at(folder: Path) -> FakeHost:
    """The host whose disk is in a folder that make_host made."""
    paths = Paths(folder / "containers", folder / "run", folder / "systemd", folder / "etc", folder / "state")
    return FakeHost(paths, FakeSystemd(paths.systemd), {"podman": FakeEngine()}, FakeJournal())


class Life:
    def __init__(self, host: FakeHost) -> None:
        self.host = host

    # --- deeds

    def install(self, id: str, asked: tuple[PortPair, ...] | None, words: str, image: Image | None) -> None:
        check_pairs(asked or ())  # at the door, as operations have it
        parts = (PublishedPorts(value=asked),) if asked is not None else ()
        wish = InstallContainer(id=id, image="geard/sample", parts=parts, command=(words,))
        installing.settle(self.host, wish, self.version(), "a test", FACETS, image)

    def complete(self, id: str, image: Image) -> None:
        now = versions.current(self.of(id))
        if now is not None:
            installing.complete(self.host, id, now.version, image, FACETS, self.version())

    def change(self, id: str, asked: tuple[PortPair, ...], gone: tuple[InnerPort, ...]) -> None:
        request = ChangePorts(id=id, ports=asked, remove=gone)
        installing.revise(
            self.host, id, self.version(), "a test", FACETS, PublishedPorts,
            lambda now: changed_ports(now, request, asked),
        )  # fmt: skip
        installing.adapt(self.host, id, FACETS, PublishedPorts)

    def start(self, id: str) -> None:
        """What the hooks and the engine write, and a start that has succeeded."""
        folders = self.of(id)
        if versions.current(folders) is None:
            return
        with suppress(FileNotFoundError):  # somebody else deletes it meanwhile
            folders.state.mkdir(parents=True, exist_ok=True)
            live.change(str(self.host.paths.run), folders.state.name, None, self.host.rules.load)
            (folders.state / "version").write_text(versions.require(folders).version)
            (folders.state / "cid").write_text(os.urandom(32).hex())
        installing.tidy(self.host, id, FACETS)

    def delete(self, id: str, *, purge: bool) -> None:
        deleting.hide(self.host, id, FACETS, purge=purge)
        deleting.clear(self.host, id, FACETS)

    def recover(self) -> None:
        """What the next agent does at its start."""
        for id in list(deleting.left_over(self.host)):
            deleting.clear(self.host, id, FACETS)
        for id in listing.installed(self.host.paths):
            installing.put_right(self.host, id, FACETS)

    # --- what must hold

    def always(self) -> None:
        """Every gear has the ports of its definition, and nobody else has; what runs keeps what it runs with."""
        self.every_gear_has_its_ports()
        self.what_runs_keeps_its_ports()

    def in_the_end(self) -> None:
        """The next agent has started, and then all gears are deleted."""
        self.recover()
        self.always()
        self.nothing_is_reserved_for_nothing()
        for id in listing.installed(self.host.paths):
            self.delete(id, purge=True)
        assert not self.reserved(), f"reserved for nobody: {self.reserved()}"

    def every_gear_has_its_ports(self) -> None:
        seen: set[tuple[int, str]] = set()
        for id, definition in self.in_force().items():
            pairs = ports_of(definition)
            assert distinct(list(pairs)), f"{id} has one port twice: {pairs}"
            for each in pairs:
                key = (each.external, each.protocol)
                assert each.external
                assert owner(self.host.paths, *key) == self.of(id).unit, f"{key} of {id} is not reserved for it"
                assert key not in seen, f"{key} was given to two"
                seen.add(key)

    def what_runs_keeps_its_ports(self) -> None:
        for id in self.in_force():
            running = versions.running(self.of(id))
            for definition in versions.recorded(self.of(id)):
                if definition.version == running:
                    for each in (*ports_of(definition), *self.published(id)):
                        there = owner(self.host.paths, each.external, each.protocol)
                        assert there == self.of(id).unit, f"{id} runs with {each}, and that is {there}'s"

    def nothing_is_reserved_for_nothing(self) -> None:
        """Of what was cut short nothing is left: each reservation is in a version that its gear keeps, or is still
        published by an engine that was started with it.
        """
        known: dict[tuple[int, str], str] = {}
        for id in self.in_force():
            for definition in versions.recorded(self.of(id)):
                known |= {(each.external, each.protocol): id for each in ports_of(definition)}
            known |= {(each.external, each.protocol): id for each in self.published(id)}
        for key, unit in self.reserved().items():
            assert key in known, f"{key} is reserved for {unit.stem}, and no version has it"

    # --- looks

    def version(self) -> str:
        return new_request_id()

    def of(self, id: str) -> Folders:
        return Folders.of(self.host.paths, id)

    def published(self, id: str) -> tuple[PortPair, ...]:
        """What the engine has published for a gear whose ports were changed since."""
        remapped = live.read(str(self.host.paths.run), self.of(id).state.name)
        return parse_pairs(remapped.engine) or () if remapped is not None else ()

    def in_force(self) -> dict[str, Definition]:
        found = {id: versions.current(self.of(id)) for id in listing.installed(self.host.paths)}
        return {id: definition for id, definition in found.items() if definition is not None}

    def reserved(self) -> dict[tuple[int, str], Path]:
        found: dict[tuple[int, str], Path] = {}
        for path in (self.host.paths.base / "ports").rglob("*"):
            if path.is_symlink():
                number, _, protocol = path.name.partition(".")
                found[int(number), protocol or "tcp"] = path.readlink()
        return found


def ports_of(definition: Definition) -> tuple[PortPair, ...]:
    part = part_of(PublishedPorts, definition.parts)
    return part.value if part is not None else ()


def distinct(pairs: list[PortPair]) -> bool:
    """What check_pairs lets pass."""
    inside = [(p.internal, p.protocol) for p in pairs]
    outside = [(p.external, p.protocol) for p in pairs if p.external]
    return len(inside) == len(set(inside)) and len(outside) == len(set(outside))


def void(_: object) -> None:
    """For what is done for its effect."""


@contextmanager
def killing(steps: int) -> Generator[None]:
    """The process is killed at the so-manyth call that changes the disk, and does nothing more."""
    left = steps

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return real(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name in KILLS:
            stack.enter_context(mock.patch.object(os, name, guard(getattr(os, name))))
        yield
