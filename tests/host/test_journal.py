"""The journal's files, written by systemd's own writer and read by ours."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.logs.writing import REMOTE, START, Writer

from geard.failures import Invalid, Unavailable
from geard.host import journal as module
from geard.host import journal_tail
from geard.host.journal import Journal, Span
from geard.host.journal_reader import Entry, Messages, Missed, Reader

pytest.importorskip("systemd.journal", reason="python3-systemd is not installed")
pytestmark = pytest.mark.skipif(REMOTE is None, reason="systemd-journal-remote is not installed")

WEB, DB = "ctr-web.service", "ctr-db.service"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "journal"
    made.mkdir()
    return made


@pytest.fixture
def writer(folder: Path) -> Iterator[Writer]:
    writer = Writer(folder)
    yield writer
    writer.end()


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """web 1 to web 20, a second apart, each followed by a line of another gear."""
    writer = Writer(tmp_path_factory.mktemp("twenty"))
    for number in range(1, 21):
        writer.write(f"web {number}")
        writer.write(f"db {number}", DB)
    writer.settle()
    writer.end()
    return writer.folder


def at(number: int) -> int:
    """When `web NUMBER` of the twenty was written."""
    return START + (2 * number - 1) * 1_000_000


async def told(
    items: AsyncGenerator[Entry | Missed, None], enough: Callable[[list[str]], bool] = lambda _: False
) -> list[str]:
    """The messages, until there are enough of them."""
    messages: list[str] = []
    async with asyncio.timeout(30), aclosing(items):
        async for item in items:
            messages.append(item.message if isinstance(item, Entry) else f"missed {item.count}")
            if enough(messages):
                break
    return messages


def webs(first: int, last: int) -> list[str]:
    return [f"web {number}" for number in range(first, last + 1)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), webs(1, 20)),
        (Span(lines=3), webs(18, 20)),
        (Span(lines=1), webs(20, 20)),
        (Span(lines=0), []),
        (Span(lines=500), webs(1, 20)),
        (Span(since=at(17)), webs(17, 20)),
        (Span(since=at(17) + 1), webs(18, 20)),
        (Span(since=at(30)), []),
        (Span(until=at(4)), webs(1, 4)),
        (Span(until=at(4) - 1), webs(1, 3)),
        (Span(until=at(0)), []),
        (Span(since=at(5), until=at(7)), webs(5, 7)),
        (Span(lines=2, until=at(7)), webs(6, 7)),
        (Span(lines=2, since=at(5)), webs(19, 20)),
        (Span(lines=10, since=at(18)), webs(18, 20)),
        (Span(at_least=3, since=at(30)), webs(18, 20)),
        (Span(at_least=3, since=at(10)), webs(10, 20)),
        (Span(at_least=100, since=at(10)), webs(1, 20)),
    ],
    ids=str,
)
async def test_a_page_has_what_was_asked_for(twenty: Path, span: Span, expected: list[str]) -> None:
    assert await told(Journal(twenty).entries(WEB, span)) == expected


@pytest.mark.parametrize("follow", [False, True])
async def test_a_page_goes_on_after_a_cursor(twenty: Path, follow: bool) -> None:
    journal = Journal(twenty)
    cursors = [item.cursor async for item in journal.entries(WEB, Span()) if isinstance(item, Entry)]

    async def after(span: Span) -> list[str]:
        soon = asyncio.get_running_loop().time() + 0.1
        return await told(journal.entries(WEB, span, follow=follow, deadline=soon))

    assert await after(Span(after=cursors[0])) == webs(2, 20)
    assert await after(Span(after=cursors[18])) == webs(20, 20)
    assert await after(Span(after=cursors[19])) == []
    assert await after(Span(after=cursors[4], lines=2)) == webs(19, 20)
    assert await after(Span(after=cursors[16], lines=10)) == webs(18, 20)
    assert await after(Span(after=cursors[4], until=at(7))) == webs(6, 7)


async def test_a_page_read_in_chunks_is_the_same(twenty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CHUNK", 1)
    monkeypatch.setattr(module, "CHUNK", 3)
    assert await told(Journal(twenty).entries(WEB, Span())) == webs(1, 20)
    assert await told(Journal(twenty).entries(WEB, Span(until=at(7)))) == webs(1, 7)


async def test_what_is_no_cursor_is_refused(twenty: Path) -> None:
    with pytest.raises(Invalid, match="cursor"):
        await told(Journal(twenty).entries(WEB, Span(after="yesterday")))


@pytest.mark.parametrize("follow", [False, True])
async def test_systemds_lines_about_a_gear_are_its_own_and_forged_ones_are_not(
    writer: Writer, follow: bool
) -> None:
    journal = Journal(writer.folder)
    if not follow:
        _write_some_of_each(writer)
        assert await told(journal.entries(WEB, Span())) == ["Started web.", "hello"]
        return
    writer.write("before")
    writer.settle()
    following = asyncio.create_task(
        told(journal.entries(WEB, Span(lines=0), follow=True), lambda messages: "hello" in messages)
    )
    await asyncio.sleep(0.1)
    await asyncio.to_thread(_write_some_of_each, writer)
    assert await following == ["Started web.", "hello"]


def _write_some_of_each(writer: Writer) -> None:
    writer.write("Started web.", "init.scope", _PID="1", UNIT=WEB, _COMM="systemd")
    writer.write("Started db.", "init.scope", _PID="1", UNIT=DB)
    writer.write("forged", "ctr-evil.service", UNIT=WEB)
    writer.write("hello")
    writer.settle()


async def test_an_entry_tells_who_wrote_what(writer: Writer) -> None:
    writer.write(
        b"caf\xc3\xa9 \xff\nsecond line", PRIORITY="3", _PID="4711", _COMM="nginx", SYSLOG_IDENTIFIER="podman"
    )
    writer.settle()
    (entry,) = [item async for item in Journal(writer.folder).entries(WEB, Span())]
    assert isinstance(entry, Entry)
    assert entry.message == "café \N{REPLACEMENT CHARACTER}\nsecond line"
    assert (entry.priority, entry.pid, entry.identifier) == (3, 4711, "nginx")
    assert entry.time == START + 1_000_000


async def test_followers_who_join_at_any_time_see_every_line_once(writer: Writer) -> None:
    """Neither gap nor overlap between the page and what comes."""
    count, journal = 150, Journal(writer.folder)

    def write() -> None:
        for number in range(1, count + 1):
            writer.write(f"web {number}")
            writer.write("noise", DB)

    async def join(after: float, span: Span) -> list[str]:
        await asyncio.sleep(after)
        return await told(journal.entries(WEB, span, follow=True), lambda messages: f"web {count}" in messages)

    writing = threading.Thread(target=write)
    writing.start()
    followers = [asyncio.create_task(join(number * 0.04, Span())) for number in range(25)]
    last_two = [asyncio.create_task(join(number * 0.08, Span(lines=2))) for number in range(12)]
    for seen in await asyncio.gather(*followers):
        assert seen == webs(1, count)
    for seen in await asyncio.gather(*last_two):
        assert seen == webs(count - len(seen) + 1, count)
    writing.join()
    assert journal.readers == 0


async def test_a_hundred_followers_share_one_reader(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write("web 0")
    writer.settle()
    opened: list[object] = []
    open_reader = Reader.__init__

    def counting(self: Reader, folder: Path | None) -> None:
        opened.append(self)
        open_reader(self, folder)

    monkeypatch.setattr(Reader, "__init__", counting)
    journal = Journal(writer.folder)
    items = [journal.entries(WEB, Span(lines=0), follow=True) for _ in range(100)]
    following = [asyncio.create_task(told(item, lambda messages: len(messages) == 3)) for item in items]
    await asyncio.sleep(0.3)
    assert journal.readers == 1
    assert _threads("journal reader") == 1
    for number in range(1, 4):
        writer.write(f"web {number}")
    assert await asyncio.gather(*following) == [webs(1, 3)] * 100
    assert journal.readers == 0
    # each page is empty, but opens a reader to know; what lasts is one
    assert len(opened) == 101
    await asyncio.sleep(0.05)
    assert _threads("journal reader") == 0


def _threads(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


async def test_a_slow_follower_catches_up_and_blocks_nobody(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_tail, "QUEUE_BYTES", 2_000)
    journal = Journal(writer.folder)
    assert await _slowly(journal, writer) == webs(1, 61)


async def test_what_is_too_much_to_catch_up_with_is_told_as_a_number(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_tail, "QUEUE_BYTES", 2_000)
    seen = await _slowly(Journal(writer.folder, catch_up=10), writer)
    (missed,) = [message for message in seen if message.startswith("missed")]
    lines = [message for message in seen if message.startswith("web")]
    assert len(lines) + int(missed.split()[1]) == 61
    assert seen[-2:] == [missed, "web 61"]


async def _slowly(journal: Journal, writer: Writer) -> list[str]:
    """What a follower sees that stops reading after the first line, until 60 more are written."""
    slow = journal.entries(WEB, Span(), follow=True)
    brisk = asyncio.create_task(
        told(Journal(writer.folder).entries(WEB, Span(), follow=True), lambda messages: "web 60" in messages)
    )
    await asyncio.sleep(0.1)
    writer.write("web 1")
    seen: list[str] = []
    async with asyncio.timeout(30), aclosing(slow):
        async for item in slow:
            seen.append(item.message if isinstance(item, Entry) else f"missed {item.count}")
            if seen == ["web 1"]:
                for number in range(2, 61):
                    writer.write(f"web {number}")
                assert await brisk == webs(1, 60)
            if seen[-1] == "web 60" or seen[-1].startswith("missed"):
                writer.write("web 61")
            if seen[-1] == "web 61":
                break
    return seen


async def test_following_ends_at_its_deadline(twenty: Path) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    seen = await told(Journal(twenty).entries(WEB, Span(lines=2), follow=True, deadline=started + 0.3))
    assert seen == webs(19, 20)
    assert 0.25 < loop.time() - started < 2


async def test_a_journal_that_is_empty_can_be_followed(writer: Writer) -> None:
    journal = Journal(writer.folder)
    following = asyncio.create_task(told(journal.entries(WEB, Span(), follow=True), bool))
    await asyncio.sleep(0.1)
    writer.write("web 1")
    assert await following == ["web 1"]


async def test_no_journal_is_told_to_every_follower(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nowhere")
    for follow in (False, True):
        with pytest.raises(Unavailable, match="journal"):
            await told(journal.entries(WEB, Span(), follow=follow))
    assert journal.readers == 0


async def test_without_systemds_module_the_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemd.journal", None)
    for follow in (False, True):
        with pytest.raises(Unavailable) as caught:
            await told(Journal(folder).entries(WEB, Span(), follow=follow))
        assert "apt install python3-systemd" in caught.value.hint


async def test_a_follower_who_is_cut_off_leaves_nothing_behind(twenty: Path) -> None:
    journal = Journal(twenty)
    following = asyncio.create_task(told(journal.entries(WEB, Span(), follow=True)))
    await asyncio.sleep(0.2)
    assert journal.readers == 1
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert journal.readers == 0
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


SAID = "39f53479d3a045ac8e11786248231fbf"
TOLD = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"
MARK = ("PODMAN_EVENT", "health_status")
KINDS = Messages(frozenset((SAID,)), frozenset((TOLD,)), frozenset((MARK,)), ("UNIT", "GEARD_GEAR", "PODMAN_NAME"))


@pytest.mark.parametrize("follow", [False, True])
async def test_messages_are_believed_from_those_alone_who_may_say_them(writer: Writer, follow: bool) -> None:
    journal = Journal(writer.folder)

    def write() -> None:
        writer.write("started", "init.scope", _PID="1", UNIT=WEB, MESSAGE_ID=SAID)
        writer.write("another matter", "init.scope", _PID="1", UNIT=WEB, MESSAGE_ID="0" * 32)
        writer.write("forged", "ctr-evil.service", _PID="77", _UID="0", UNIT=WEB, MESSAGE_ID=SAID)
        writer.write("forged", "ctr-evil.service", _UID="2000000", _TRANSPORT="journal", MESSAGE_ID=TOLD)
        writer.write("forged", "ctr-evil.service", _UID="0", _TRANSPORT="stdout", MESSAGE_ID=TOLD)
        writer.write("forged", "ctr-evil.service", _UID="0", _TRANSPORT="stdout", PODMAN_EVENT="health_status")
        writer.write("forged", "ctr-evil.service", _UID="2000000", _TRANSPORT="journal", PODMAN_EVENT=MARK[1])
        writer.write("another matter", "x.service", _UID="0", _TRANSPORT="journal", PODMAN_EVENT="exec")
        writer.write("checked", "x.service", _UID="0", _TRANSPORT="journal", PODMAN_EVENT=MARK[1], PODMAN_NAME="w")
        writer.write(
            "installed", "geard.service", _UID="0", _TRANSPORT="journal", MESSAGE_ID=TOLD, GEARD_GEAR="web"
        )
        writer.settle()

    if follow:
        writer.write("before")
        writer.settle()
        span = Span(lines=0)
        following = asyncio.create_task(
            told(journal.entries(KINDS, span, follow=True), lambda messages: "installed" in messages)
        )
        await asyncio.sleep(0.1)
        await asyncio.to_thread(write)
        assert await following == ["started", "checked", "installed"]
        return
    write()
    found = [item async for item in journal.entries(KINDS, Span()) if isinstance(item, Entry)]
    assert [item.message for item in found] == ["started", "checked", "installed"]
    assert [dict(item.fields) for item in found] == [{"UNIT": WEB}, {"PODMAN_NAME": "w"}, {"GEARD_GEAR": "web"}]


async def test_a_cursor_whose_entry_is_gone_is_told_as_a_gap(twenty: Path) -> None:
    journal = Journal(twenty)
    cursors = [item.cursor async for item in journal.entries(WEB, Span()) if isinstance(item, Entry)]
    gone = cursors[4].replace("x=", "x=1")
    assert await told(journal.entries(WEB, Span(after=gone))) == ["missed 0", *webs(5, 20)]
    soon = asyncio.get_running_loop().time() + 0.2
    assert await told(journal.entries(WEB, Span(after=gone), follow=True, deadline=soon)) == [
        "missed 0", *webs(5, 20),
    ]  # fmt: skip


async def test_a_run_up_begins_before_the_cursors_entry_by_so_much_time(twenty: Path) -> None:
    journal = Journal(twenty)
    cursors = [item.cursor async for item in journal.entries(WEB, Span()) if isinstance(item, Entry)]

    async def after(number: int, seconds: int, follow: bool) -> list[str]:
        span = Span(after=cursors[number - 1], run_up=seconds * 1_000_000)
        soon = asyncio.get_running_loop().time() + 0.1
        return await told(journal.entries(WEB, span, follow=follow, deadline=soon))

    for follow in (False, True):
        assert await after(10, 4, follow) == webs(8, 20)
        assert await after(20, 2, follow) == webs(19, 20)
        assert await after(2, 3_600, follow) == webs(1, 20)


@pytest.mark.parametrize(
    ("one", "other", "before"),
    [
        ("s=aa;i=9;t=500", "s=aa;i=a;t=400", True),  # the clock was set back in between
        ("s=aa;i=a;t=400", "s=aa;i=9;t=500", False),
        ("s=aa;i=9;t=500", "s=aa;i=9;t=500", False),
        ("s=aa;i=9;t=500", "s=bb;i=1;t=600", True),  # another row of numbers: a journal that was begun anew
        ("s=aa;i=9;t=700", "s=bb;i=1;t=600", False),
        ("s=aa;i=x;t=", "", False),
    ],
)
def test_the_order_of_entries_is_the_journals_and_not_the_clocks(one: str, other: str, before: bool) -> None:
    assert module._is_before(one, other) is before  # pyright: ignore[reportPrivateUsage]


async def test_long_lines_are_read_in_pieces_of_bounded_size(writer: Writer) -> None:
    for _ in range(60):
        writer.write("x" * 100_000)
    writer.settle()
    page = module._Page(writer.folder, WEB, Span())  # pyright: ignore[reportPrivateUsage]
    sizes: list[int] = []
    while not page.ended:
        sizes.append(len(page.chunk()))
    assert sum(sizes) == 60
    assert max(sizes) == 11
