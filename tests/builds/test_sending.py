"""Sources that are sent: whole or not at all, within bounds, and one build's."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from geard.builds import records, sending
from geard.builds.packing import pack
from geard.builds.records import Folders, Order
from geard.builds.requests import BuildImage
from geard.exchange import FromAsker, Input, InputEnd, Taken, ToAsker
from geard.failures import AlreadyExists, Invalid, NotFound, Unavailable
from geard.host.paths import Paths

ID = "0a1b2c"


class Line:
    def __init__(self, *events: FromAsker) -> None:
        self.events = list(events)
        self.said: list[ToAsker] = []

    async def hear(self) -> FromAsker:
        if not self.events:
            await asyncio.Event().wait()  # the asker has been killed: who waits is cancelled
        return self.events.pop(0)

    async def say(self, event: ToAsker) -> None:
        self.said.append(event)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(base=tmp_path / "base", run=tmp_path / "run")


def receive(paths: Paths, line: Line, limit: int = 100, spare: int = 0) -> int:
    async def within() -> int:
        async with asyncio.timeout(0.5):
            return await sending.receive(paths, ID, line, limit=limit, spare=spare)

    return asyncio.run(within())


def test_what_is_sent_is_there_at_its_end(paths: Paths) -> None:
    line = Line(Input(b"ab"), Input(b"c"), InputEnd())
    assert receive(paths, line) == 0 and line.said == [Taken(2), Taken(1)]
    assert records.sent(paths, ID).read_bytes() == b"abc"
    with pytest.raises(AlreadyExists):
        receive(paths, Line(InputEnd()))


def test_who_leaves_in_the_middle_leaves_nothing(paths: Paths) -> None:
    with pytest.raises(TimeoutError):
        receive(paths, Line(Input(b"ab")))
    assert list(records.sent(paths, ID).parent.iterdir()) == []


def test_too_much_is_refused(paths: Paths) -> None:
    with pytest.raises(Invalid, match="larger than"):
        receive(paths, Line(Input(b"x" * 60), Input(b"x" * 60), InputEnd()))
    with pytest.raises(Unavailable, match="is left on the disk"):
        receive(paths, Line(Input(b"x"), InputEnd()), spare=1 << 60)
    assert list(records.sent(paths, ID).parent.iterdir()) == []


def test_one_build_takes_it(paths: Paths) -> None:
    wish = BuildImage(source=f"sent://{ID}", tag="a", base_image="b")
    order = Order(request="r", asker="me", asked=records.now(), wish=wish)
    with pytest.raises(NotFound, match="was sent"):
        records.create(paths, "one", order)
    receive(paths, Line(Input(b"ab"), InputEnd()))
    records.create(paths, "one", order)
    records.create(paths, "one", order)  # asked again
    assert Folders.of(paths, "one").source.read_bytes() == b"ab" and not records.sent(paths, ID).exists()
    # Killed between the two, it goes on with what it has.
    Folders.of(paths, "one").order.unlink()
    records.create(paths, "one", order)
    with pytest.raises(NotFound):
        records.create(paths, "two", Order(request="s", asker="me", asked=records.now(), wish=wish))


def test_those_that_nobody_takes_go(paths: Paths) -> None:
    receive(paths, Line(InputEnd()))
    at = records.sent(paths, ID)
    sending.tidy(paths)
    assert at.exists()
    sending.tidy(paths, at.stat().st_mtime + sending.KEEP_SECONDS + 1)
    assert not at.exists()


def test_a_folder_as_it_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "app"
    (source / "bin").mkdir(parents=True)
    (source / "bin/x").write_text("x")
    (source / "link").symlink_to("bin/x")
    os.mkfifo(source / "pipe")
    read, write = os.pipe()
    threading.Thread(target=pack, args=(source, write)).start()
    with open(read, "rb") as file, tarfile.open(fileobj=io.BytesIO(file.read())) as tar:
        assert sorted(tar.getnames()) == ["src", "src/bin", "src/bin/x", "src/link"]
        assert {(entry.uid, entry.uname) for entry in tar} == {(0, "")}


def test_caches_of_what_is_sent_are_the_tags() -> None:
    names = {records.cache_name(f"sent://{id}", "site", "/root/.cache") for id in ("a1", "b2")}
    assert len(names) == 1
    assert records.cache_name("/srv/app", "site", "/root/.cache") not in names
