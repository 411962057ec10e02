"""A repository that is copied while somebody pushes to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from geard.builds import fetching
from geard.failures import Unavailable
from geard.host import process


def test_a_copy_from_which_a_push_took_a_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = tmp_path / "shop", tmp_path / "to"
    (source / "refs").mkdir(parents=True)
    (source / "refs/HEAD").write_text("x")
    to.mkdir()
    tries: list[int] = []

    async def run(words: list[str], *, timeout: float) -> None:
        tries.append(len(tries))
        if len(tries) < 2:
            raise Unavailable("cp: cannot stat 'HEAD.lock': No such file or directory")
        await really(words, timeout=timeout)

    really = process.run
    monkeypatch.setattr(fetching, "run", run)
    asyncio.run(fetching._copy_repository(str(source), to))  # pyright: ignore[reportPrivateUsage]
    assert (to / "refs/HEAD").read_text() == "x" and len(tries) == 2


def test_what_cannot_be_copied_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(fetching._copy_repository(str(tmp_path / "none"), tmp_path))  # pyright: ignore[reportPrivateUsage]
