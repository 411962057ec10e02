"""The fakes, held to what tests/lab/test_conformance.py holds the real ones to."""

from __future__ import annotations

import inspect

import pytest
from tests.fakes.engine import FakeEngine, make_image
from tests.fakes.host import FakeHost
from tests.fakes.journal import FakeJournal
from tests.fakes.systemd import FakeSystemd
from tests.host import conformance
from tests.host.conformance import CHECKS, Check, Ground

from geard.host.engine.podman import Podman
from geard.host.journal import Journal
from geard.host.systemd import Systemd


@pytest.fixture
def ground(fake_host: FakeHost) -> Ground:
    fake_host.engine.here = [make_image(f"localhost/{conformance.IMAGE}", ports=((8080, "tcp"),))]
    return Ground(fake_host, fake_host.paths.systemd)


@pytest.mark.parametrize("deed", CHECKS, ids=lambda deed: deed.__name__)
async def test_the_fake_behaves_as_the_real_one(deed: Check, ground: Ground) -> None:
    await deed(ground)
    await ground.clear()


# What is the same in the fake: words that are made, not told to anybody.
PURE = {
    "unit_lines",
    "facts",
    "is_installed",
    "run_words",
    "service_lines",
    "exec_argv",
    "exec_environment",
    "pull_argv",
    "rename_argvs",
    "once",
    "load_argv",
    "save_argv",
    "name_argvs",
    "forget_argv",
    "store",
}


@pytest.mark.parametrize(("real", "fake"), [(Systemd, FakeSystemd), (Podman, FakeEngine), (Journal, FakeJournal)])
def test_the_fake_has_every_method_of_the_real_one_in_the_same_words(real: type, fake: type) -> None:
    for name, method in inspect.getmembers(real, inspect.isroutine):
        if name.startswith("_") or name in PURE:
            continue
        assert name in vars(fake), f"{fake.__name__} would ask the real {name}"
        assert inspect.signature(getattr(fake, name)) == inspect.signature(method)
