"""Repositories at the terminal: what git is told to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemon.afar import Afar, agent_afar
from tests.repositories import test_killed

from geard.repositories.requests import CreatedRepository

owners = test_killed.owners


@pytest.fixture
def afar(tmp_path: Path) -> Iterator[Afar]:
    with agent_afar(tmp_path) as found:
        assert found.join().code == 0
        yield found


def test_another_machine_is_named_as_it_is_reached(afar: Afar) -> None:
    """Not by the name that it has in `gear host list` alone, nor as if it were this one."""
    said = afar.gear("create-repo", "h1/shop")
    made = f"git clone git-shop@127.0.0.1:shop, or by a token https://127.0.0.1:{afar.port}/git/shop"
    assert said.out == f"Repository shop is created; {made}\n", said
    named = afar.gear("rename-repo", "h1/shop", "store").out
    assert named == "Repository shop is store now; git remote set-url origin git-store@127.0.0.1:store\n"
    # Nobody knows what others call this one.
    here = afar.root("create-repo", "here")
    made = "git clone git-here@HOST:here, or by a token http://localhost:43273/git/here"
    assert here == f"Repository here is created; {made}\n"
    assert here == CreatedRepository(id="here", login="git-here").text() + "\n"
