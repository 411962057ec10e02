"""Ports over the life of many gears: whatever is installed, killed midway and deleted in whatever order, no port
is ever given to two, and none stays reserved for a gear that is gone.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fakes.host import make_host

from geard import catalog
from geard.containers import deleting, installing, versions
from geard.containers.folders import Folders
from geard.containers.requests import InstallContainer
from geard.containers.units import gear_of
from geard.failures import AlreadyExists
from geard.host.storage import Changes, locked
from geard.ports import reservations
from geard.ports.requests import PortPair, PublishedPorts
from geard.ports.reservations import held_by, owner
from geard.words import part_of

FACETS = catalog.load()
PORTS = next(facet for facet in FACETS if facet.part is PublishedPorts)
IDS = ("web", "db", "cache")
ids = st.sampled_from(IDS)
# Few ports, so that gears want the same ones; none is asked for twice in one wish, which is refused before.
MAPPINGS = [
    [],
    *([(80, outside)] for outside in (0, 4000, 4001)),
    *(
        [(80, one), (443, other)]
        for one in (0, 4000, 4001)
        for other in (0, 4000, 4001)
        if one != other or not one
    ),
]
pairs = st.sampled_from([tuple(PortPair(internal=i, external=e) for i, e in mapping) for mapping in MAPPINGS])


class KilledError(BaseException):
    """The process ends here, and tidies nothing up."""


class Gears(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="geard-ports-"))
        self.host = make_host(self.folder / "host")
        self.numbers = itertools.count()
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch.object(reservations, "in_use", return_value=False))
        # what a power cut would take is not the subject here
        self.patches.enter_context(mock.patch.object(os, "fsync", return_value=None))

    def teardown(self) -> None:
        try:
            for id in IDS:
                self.delete(id)
            left = [p.name for p in (self.host.paths.base / "ports").rglob("*") if p.is_symlink()]
            assert not left, f"reserved for nobody: {left}"
        finally:
            self.patches.close()
            shutil.rmtree(self.folder)

    def settle(self, id: str, wanted: tuple[PortPair, ...], words: str) -> None:
        parts = (PublishedPorts(value=wanted),)
        wish = InstallContainer(id=id, image="geard/sample", parts=parts, command=(words,))
        installing.settle(self.host, wish, f"{next(self.numbers):022d}", "a test", FACETS, None)

    @rule(id=ids, wanted=pairs, words=st.sampled_from("ab"))
    def install(self, id: str, wanted: tuple[PortPair, ...], words: str) -> None:
        before = self.ports_of(id)
        try:
            self.settle(id, wanted, words)
        except AlreadyExists:
            assert self.ports_of(id) == before
        else:
            for pair in wanted:
                assert not pair.external or pair.external in self.ports_of(id)

    @rule(id=ids, wanted=pairs, steps=st.integers(0, 25))
    def install_and_be_killed(self, id: str, wanted: tuple[PortPair, ...], steps: int) -> None:
        with ExitStack() as killing:
            for name, call in _killing(steps).items():
                killing.enter_context(mock.patch.object(os, name, call))
            try:
                self.settle(id, wanted, "killed")
            except (KilledError, AlreadyExists):
                return

    @rule(id=ids)
    def run_the_newest(self, id: str) -> None:
        """What a start does when it has succeeded: only the version in force runs."""
        folders = Folders.of(self.host.paths, id)
        if (now := versions.current(folders)) is None:
            return
        with locked(folders.versions), Changes() as changes:
            earlier = [part for d in versions.recorded(folders) if d.version != now.version
                       if (part := part_of(PublishedPorts, d.parts)) is not None]  # fmt: skip
            PORTS.tidy(self.host, changes, gear_of(folders), part_of(PublishedPorts, now.parts), earlier)

    @rule(id=ids)
    def delete(self, id: str) -> None:
        deleting.hide(self.host, id, FACETS, purge=False)
        deleting.clear(self.host, id, FACETS)
        assert not self.held_by(id), f"{id} is gone and {self.held_by(id)} are still reserved for it"

    @rule(id=ids)
    def delete_and_be_killed(self, id: str) -> None:
        deleting.hide(self.host, id, FACETS, purge=False)

    @rule()
    def clear_what_is_left_over(self) -> None:
        for id in list(deleting.left_over(self.host)):
            deleting.clear(self.host, id, FACETS)

    @rule(wanted=pairs)
    def all_at_once(self, wanted: tuple[PortPair, ...]) -> None:
        broken: list[BaseException] = []

        def install(id: str) -> None:
            try:
                self.install(id, wanted, id)
            except BaseException as error:  # noqa: BLE001 - told below
                broken.append(error)

        threads = [threading.Thread(target=install, args=(id,)) for id in IDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not broken, broken

    @invariant()
    def every_gear_owns_the_ports_of_its_definition(self) -> None:
        seen: set[int] = set()
        for id in IDS:
            for port in self.ports_of(id):
                assert owner(self.host.paths, port, "tcp") == Folders.of(self.host.paths, id).unit
                assert port not in seen, f"{port} was given to two"
                seen.add(port)

    def ports_of(self, id: str) -> set[int]:
        now = versions.current(Folders.of(self.host.paths, id))
        part = part_of(PublishedPorts, now.parts) if now is not None else None
        return {pair.external for pair in part.value} if part is not None else set()

    def held_by(self, id: str) -> set[int]:
        return {port for port, _ in held_by(self.host.paths, Folders.of(self.host.paths, id).unit)}


def _killing(steps: int) -> dict[str, Callable[..., Any]]:
    """The calls that change names in folders; the process is killed at the so-manyth, and does nothing more."""
    left = steps

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return real(*args, **kwargs)

        return call

    return {name: guard(getattr(os, name)) for name in ("unlink", "rmdir", "rename", "symlink", "link", "mkdir")}


# Made shorter, a series that fails takes minutes to try; of 12 steps each can be read as it is.
Gears.TestCase.settings = settings(
    max_examples=40, stateful_step_count=12, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
TestGears = Gears.TestCase
