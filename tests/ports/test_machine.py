"""Ports over the life of many gears: whatever is installed, changed, started, killed midway and deleted, in
whatever order, no port is ever given to two, none is lost, and none stays reserved for nothing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fakes.host import make_host
from tests.ports.living import FACETS, IDS, IMAGES, KilledError, Life, distinct, host_at, killing, void

from geard.containers import installing, versions
from geard.failures import Failure
from geard.host.engine import Image
from geard.ports import reservations
from geard.ports.requests import InnerPort, PortPair
from geard.ports.reservations import held_by

processes = multiprocessing.get_context("spawn")
ids = st.sampled_from(IDS)
pair = st.builds(
    PortPair,
    internal=st.sampled_from((80, 443, 53)),
    external=st.sampled_from((0, 4000, 4001, 4002)),
    protocol=st.sampled_from(("tcp", "udp")),
    address=st.sampled_from(("", "127.0.0.1")),
)
wanted = st.one_of(st.none(), st.lists(pair, max_size=3).filter(distinct).map(tuple))
images = st.sampled_from((None, *IMAGES))


@contextmanager
def quick() -> Generator[None]:
    """What a power cut would take is not the subject here, nor what listens on this machine."""
    with (
        mock.patch.object(reservations, "in_use", return_value=False),
        mock.patch.object(os, "fsync", return_value=None),
    ):
        yield


class Gears(Life, RuleBasedStateMachine):
    """Each deed is done as operations do it, and may be killed at any of its calls that change the disk."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        self.folder = Path(tempfile.mkdtemp(prefix="geard-ports-"))
        Life.__init__(self, make_host(self.folder / "host"))
        self.patches = ExitStack()
        self.patches.enter_context(quick())

    def teardown(self) -> None:
        try:
            self.in_the_end()
        finally:
            self.patches.close()
            shutil.rmtree(self.folder)

    # --- rules

    def do(self, deed: Callable[[], None], steps: int | None) -> None:
        """Do it, or be killed at the so-manyth call; what is refused has changed nothing of what is in force."""
        before = self.in_force()
        try:
            with killing(steps) if steps is not None else ExitStack():
                deed()
        except KilledError:
            return
        except Failure:
            assert self.in_force() == before

    kills = st.one_of(st.none(), st.integers(0, 40))

    @rule(id=ids, asked=wanted, words=st.sampled_from("ab"), image=images, steps=kills)
    def installs(
        self, id: str, asked: tuple[PortPair, ...] | None, words: str, image: Image | None, steps: int | None
    ) -> None:
        self.do(lambda: self.install(id, asked, words, image), steps)

    @rule(id=ids, image=st.sampled_from(IMAGES), steps=kills)
    def completes(self, id: str, image: Image, steps: int | None) -> None:
        self.do(lambda: self.complete(id, image), steps)

    @rule(id=ids, asked=wanted, gone=st.sampled_from(((), (InnerPort(internal=80),))), steps=kills)
    def changes_ports(
        self, id: str, asked: tuple[PortPair, ...] | None, gone: tuple[InnerPort, ...], steps: int | None
    ) -> None:
        self.do(lambda: self.change(id, asked or (), gone), steps)

    @rule(id=ids, number=st.integers(0, 4), steps=kills)
    def rolls_back(self, id: str, number: int, steps: int | None) -> None:
        kept = [definition.version for definition in versions.recorded(self.of(id))]
        if number < len(kept):
            self.do(lambda: void(installing.roll_back(self.host, id, kept[number], FACETS)), steps)

    @rule(id=ids, steps=kills)
    def starts(self, id: str, steps: int | None) -> None:
        self.do(lambda: self.start(id), steps)

    @rule(id=ids, steps=kills, purge=st.booleans())
    def deletes(self, id: str, steps: int | None, purge: bool) -> None:
        self.do(lambda: self.delete(id, purge=purge), steps)
        if steps is None:
            held = set(held_by(self.host.paths, self.of(id).unit))
            assert not held, f"{id} is gone and {held} are still reserved for it"

    @rule()
    def an_agent_starts(self) -> None:
        self.recover()
        self.nothing_is_reserved_for_nothing()

    @rule(asked=wanted, other=wanted, image=images)
    def all_at_once(
        self, asked: tuple[PortPair, ...] | None, other: tuple[PortPair, ...] | None, image: Image | None
    ) -> None:
        deeds = [
            lambda: self.install("web", asked, "c", image),
            lambda: self.change("web", other or (), ()),
            lambda: self.delete("cache", purge=False),
            lambda: self.install("cache", other, "c", None),
            lambda: self.install("db", asked, "c", image),
            lambda: self.start("db"),
        ]
        broken: list[BaseException] = []

        def one(deed: Callable[[], None]) -> None:
            try:
                with suppress(Failure):
                    deed()
            except BaseException as error:  # noqa: BLE001 - told below
                broken.append(error)

        threads = [threading.Thread(target=one, args=(deed,)) for deed in deeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not broken, broken

    @invariant()
    def holds(self) -> None:
        self.always()


# Made shorter, a series that fails takes minutes to try; of 15 steps each can be read as it is.
Gears.TestCase.settings = settings(
    max_examples=30, stateful_step_count=15, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
TestGears = Gears.TestCase


def tcp(*pairs: tuple[int, int]) -> tuple[PortPair, ...]:
    return tuple(PortPair(internal=inside, external=outside) for inside, outside in pairs)


DEEDS: dict[str, Callable[[Life], None]] = {
    "install": lambda life: life.install("cache", tcp((80, 0), (443, 4500)), "a", None),
    "install an image that is here": lambda life: life.install("cache", None, "a", IMAGES[0]),
    "re-install": lambda life: life.install("web", tcp((80, 0), (443, 4500)), "b", None),
    "an image with other ports": lambda life: life.complete("web", IMAGES[1]),
    "an image comes": lambda life: life.complete("db", IMAGES[0]),
    "change ports": lambda life: life.change("web", tcp((80, 4600), (8080, 0)), (InnerPort(internal=53),)),
    "start": lambda life: life.start("web"),
    "roll back": lambda life: void(
        installing.roll_back(life.host, "web", versions.recorded(life.of("web"))[-1].version, FACETS)
    ),
    "delete": lambda life: life.delete("web", purge=False),
    "forget": lambda life: life.install("full", tcp((80, 4777)), "new", None),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_killed_at_any_call_nothing_is_lost(tmp_path: Path, deed: str) -> None:
    for steps in itertools.count():
        with quick():
            life = Life(make_host(tmp_path / str(steps)))
            life.install("web", None, "a", IMAGES[0])
            life.start("web")
            life.install("web", tcp((80, 4100)), "a", IMAGES[0])
            life.change("web", tcp((443, 0)), ())
            life.install("db", None, "a", None)
            for number in range(versions.KEPT if deed == "forget" else 0):
                life.install("full", tcp((80, 4700 + number)), f"{number}", None)
            try:
                with killing(steps):
                    DEEDS[deed](life)
                done = True
            except KilledError:
                done = False
            life.always()
            if not done:
                with suppress(Failure):  # what was done, asked for once more under another id
                    DEEDS[deed](life)
                life.always()
            life.in_the_end()
        if done:
            assert steps > 2
            return


def _live(folder: str, seed: int) -> None:
    """Gears are made, changed and deleted without end, in a process that is killed."""
    chance = random.Random(seed)
    with quick():
        life = Life(host_at(Path(folder)))
        while True:
            id, image = chance.choice(IDS), chance.choice((None, *IMAGES))
            some = tcp(*((inside, chance.choice((0, 4000, 4001, 4002))) for inside in (80, 443)))
            deeds: tuple[Callable[[], None], ...] = (
                partial(life.install, id, None, str(chance.random()), image),
                partial(life.install, id, some, "a", None),
                partial(life.change, id, some, ()),
                partial(life.start, id),
                partial(life.delete, id, purge=False),
            )
            with suppress(Failure):
                chance.choice(deeds)()


def test_processes_that_are_killed_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    life = Life(make_host(tmp_path / "host"))
    for number in range(2):
        with quick():
            children = [
                processes.Process(target=_live, args=(str(tmp_path / "host"), 10 * number + n)) for n in range(3)
            ]
            for child in children:
                child.start()
            end = time.monotonic() + 20
            while len(life.reserved()) < 3 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.4)
            for child in children:
                child.kill()
            for child in children:
                child.join()
                assert child.exitcode == -9, "it came to an end by itself"
                child.close()
            life.recover()
            life.always()
            life.nothing_is_reserved_for_nothing()
    with quick():
        life.in_the_end()
