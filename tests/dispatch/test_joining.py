"""The same id, asked again: while it runs, when it has ended, in another process, after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.daemon.belfry import bare_host

from geard.dispatch import dispatcher as dispatching
from geard.dispatch import work as working
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.operation import operation
from geard.dispatch.running import LeftError
from geard.dispatch.work import Work
from geard.failures import Bug, Conflict, Failure, Full, NotFound, Unavailable
from geard.identifiers import new_request_id
from geard.request import Answer, Asker, Progress, Request, Route

ALICE = Asker("uid 1000 (alice)", frozenset(("operate",)), 1000)
BOB = Asker("uid 1001 (bob)", frozenset(("operate",)), 1001)


class Baked(Answer):
    id: str
    loaf: int


class Bake(Request[Baked]):
    """Writes a loaf into the kitchen; `how` says what becomes of it."""

    route = Route("PUT", "/bread/{id}")

    id: str
    how: str = ""


class BakeOnce(Bake):
    route = Route("PUT", "/wedding-cake/{id}")
    repeatable: ClassVar[bool] = False


class BakeInSecret(Bake):
    route = Route("PUT", "/secret-bread/{id}")
    secret_answer: ClassVar[bool] = True


class Slice(Request[Baked]):
    """What is owed behind the answer: it goes by what there is."""

    id: str


def kitchen(work: Work) -> Path:
    folder = work.host.paths.base / "kitchen"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def note(work: Work, what: str) -> int:
    """A line more, which outlives a kill; how many there are."""
    with (kitchen(work) / "notes").open("a") as file:
        file.write(what + "\n")
    return len((kitchen(work) / "notes").read_text().splitlines())


def notes(folder: Path) -> list[str]:
    path = folder / "containers" / "kitchen" / "notes"
    return path.read_text().splitlines() if path.exists() else []


go_on = threading.Event()


@operation
async def bake(request: Bake, work: Work) -> Baked:
    return await _bake(request, work)


@operation
async def bake_once(request: BakeOnce, work: Work) -> Baked:
    return await _bake(request, work)


@operation
async def bake_in_secret(request: BakeInSecret, work: Work) -> Baked:
    return await _bake(request, work)


async def _bake(request: Bake, work: Work) -> Baked:
    number = note(work, f"bake {request.id}")
    if request.how == "burn":
        raise NotFound("there is no flour", hint="buy some", data=[1, "two"])
    if request.how == "bug":
        raise ZeroDivisionError
    if request.how == "refuse":
        raise Full("the oven is full")
    if request.how == "slowly":
        await asyncio.sleep(60)
    if request.how == "when told":
        await until(go_on.is_set)
    work.say("baking", "it is in the oven", request.id)
    if request.how == "by hand":

        async def knead() -> None:
            await asyncio.sleep(60)

        work.then(knead)
    elif request.how != "plain":
        work.owe(Slice(id=request.id))
    return Baked(id=request.id, loaf=number)


@operation
async def slice_bread(request: Slice, work: Work) -> Baked:
    work.say("slicing", "the knife is out", request.id)
    await until(go_on.is_set)
    note(work, f"slice {request.id}")
    work.conclude("sliced", f"{request.id} is sliced", request.id)
    return Baked(id=request.id, loaf=0)


@pytest.fixture(autouse=True)
def knife() -> None:
    go_on.clear()


@asynccontextmanager
async def baker(folder: Path) -> AsyncGenerator[Dispatcher]:
    """What a process does its requests with. Two are as two processes: a lock is of an opened file."""
    dispatcher = Dispatcher(bare_host(folder))
    try:
        yield dispatcher
    finally:
        go_on.set()
        await dispatcher.stop(5)


async def killed(folder: Path, deed: Callable[[Dispatcher], Awaitable[Any]]) -> None:
    """Do that in a process of its own, which is killed then."""
    child = os.fork()
    if child == 0:
        try:
            asyncio._set_running_loop(None)
            working._disk = ThreadPoolExecutor(1)  # pyright: ignore[reportPrivateUsage]

            async def live() -> None:
                await deed(Dispatcher(bare_host(folder)))
                os.kill(os.getpid(), signal.SIGKILL)

            asyncio.run(live())
        finally:
            os._exit(1)
    await asyncio.to_thread(os.waitpid, child, 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


async def report(running: Any) -> list[Progress]:
    return [step async for step in running.report()]


async def test_what_has_ended_is_told_again_from_disk(tmp_path: Path) -> None:
    id = new_request_id()
    go_on.set()
    async with baker(tmp_path) as first:
        running = first.perform(Bake(id="rye"), ALICE, id)
        answer, steps = await running.answer(), await report(running)
    assert (tmp_path / "containers" / "requests" / id).exists()
    assert not list((tmp_path / "run" / "requests").iterdir())
    async with baker(tmp_path) as second:
        again = second.perform(Bake(id="rye"), ALICE, id)
        assert (await again.answer(), await report(again)) == (answer, steps)
    assert [step.message for step in steps] == ["it is in the oven", "the knife is out", "rye is sliced"]
    assert notes(tmp_path) == ["bake rye", "slice rye"]


async def test_a_failure_too(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as first:
        with pytest.raises(NotFound):
            await first.perform(Bake(id="rye", how="burn"), ALICE, id).answer()
    async with baker(tmp_path) as second:
        again = second.perform(Bake(id="rye", how="burn"), ALICE, id)
        with pytest.raises(NotFound, match="no flour") as told:
            await again.answer()
        assert (told.value.hint, told.value.data) == ("buy some", [1, "two"])
    assert notes(tmp_path) == ["bake rye"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_anything_else_with_that_id_is_refused_and_shown_nothing(tmp_path: Path, restarted: bool) -> None:
    id = new_request_id()
    async with baker(tmp_path) as first:
        await first.perform(Bake(id="rye", how="plain"), ALICE, id).answer()
        async with baker(tmp_path) as second:
            asked = second if restarted else first
            for request, asker in (
                (Bake(id="wheat", how="plain"), ALICE),
                (BakeOnce(id="rye", how="plain"), ALICE),
                (Bake(id="rye", how="plain"), BOB),
            ):
                with pytest.raises(Conflict, match="was used for something else") as refused:
                    asked.perform(request, asker, id)
                assert "rye" not in refused.value.message
    assert notes(tmp_path) == ["bake rye"]


async def test_one_asker_is_the_same_by_every_door_of_the_machine(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as first:
        await first.perform(Bake(id="rye", how="plain"), ALICE, id).answer()
        in_person = Asker("alice herself", frozenset(), 1000)
        assert (await first.perform(Bake(id="rye", how="plain"), in_person, id).answer()).loaf == 1


async def test_two_processes_do_one_id_once(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as first, baker(tmp_path) as second:
        one, other = (each.perform(Bake(id="rye"), ALICE, id) for each in (first, second))
        assert await one.answer() == await other.answer()
        go_on.set()
        assert await report(one) == await report(other)
    assert notes(tmp_path) == ["bake rye", "slice rye"]


async def test_who_waits_for_a_process_that_is_killed_goes_on_itself(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as second:

        async def begin(first: Dispatcher) -> None:
            await first.perform(Bake(id="rye"), ALICE, id).answer()
            (tmp_path / "begun").touch()
            await asyncio.sleep(0.3)

        killing = asyncio.create_task(killed(tmp_path, begin))
        await until((tmp_path / "begun").exists)
        joined = second.perform(Bake(id="rye"), ALICE, id)
        assert (await joined.answer()).loaf == 1
        go_on.set()
        assert [step.message for step in await report(joined)][-1] == "rye is sliced"
        await killing
    assert notes(tmp_path) == ["bake rye", "slice rye"]


async def test_what_was_answered_is_gone_on_with_by_the_next(tmp_path: Path) -> None:
    id = new_request_id()
    await killed(tmp_path, lambda first: first.perform(Bake(id="rye"), ALICE, id).answer())
    go_on.set()
    async with baker(tmp_path) as second:
        assert [type(each) for each in await second.resume()] == [Slice]
        joined = second.perform(Bake(id="rye"), ALICE, id)
        assert (await joined.answer()).loaf == 1
        assert [step.message for step in await report(joined)][-1] == "rye is sliced"
        await second.drain()
    assert notes(tmp_path) == ["bake rye", "slice rye"]


async def test_what_was_not_answered_is_done_by_who_asks_again(tmp_path: Path) -> None:
    id = new_request_id()

    async def begin(first: Dispatcher) -> None:
        first.perform(Bake(id="rye", how="slowly"), ALICE, id)
        await until(lambda: bool(notes(tmp_path)))

    await killed(tmp_path, begin)
    async with baker(tmp_path) as second:
        assert await second.resume() == []
        found = second.records.find(id)
        assert found is not None and found[0].state(held=found[1]) == "interrupted"
        with pytest.raises(Conflict):
            second.perform(Bake(id="wheat"), ALICE, id)
        running = second.perform(Bake(id="rye", how="slowly"), ALICE, id)
        await until(lambda: len(notes(tmp_path)) == 2)
        assert not running.ended
        for task in second._tasks:  # pyright: ignore[reportPrivateUsage]
            task.cancel()
    assert notes(tmp_path) == ["bake rye", "bake rye"]


async def test_what_cannot_be_repeated_has_failed(tmp_path: Path) -> None:
    id = new_request_id()

    async def begin(first: Dispatcher) -> None:
        first.perform(BakeOnce(id="cake", how="slowly"), ALICE, id)
        await until(lambda: bool(notes(tmp_path)))

    await killed(tmp_path, begin)
    # Before anything was done it was on the disk, so not even the loss of /run makes it be begun again.
    assert (tmp_path / "containers" / "requests" / id).exists()
    for path in (tmp_path / "run" / "requests").iterdir():
        path.unlink()
    async with baker(tmp_path) as second:
        await second.resume()
        for _ in range(2):
            with pytest.raises(Unavailable, match="cut short and may be half done"):
                await second.perform(BakeOnce(id="cake", how="slowly"), ALICE, id).answer()
    assert notes(tmp_path) == ["bake cake"]


async def test_what_nobody_else_can_go_on_with_says_so(tmp_path: Path) -> None:
    id = new_request_id()
    await killed(tmp_path, lambda first: first.perform(Bake(id="rye", how="by hand"), ALICE, id).answer())
    async with baker(tmp_path) as second:
        await second.resume()
        joined = second.perform(Bake(id="rye", how="by hand"), ALICE, id)
        assert (await joined.answer()).loaf == 1
        with pytest.raises(Unavailable, match="was answered, then cut short"):
            await report(joined)


async def test_a_stop_leaves_what_others_can_go_on_with(tmp_path: Path) -> None:
    id = new_request_id()
    first = Dispatcher(bare_host(tmp_path))
    running = first.perform(Bake(id="rye"), ALICE, id)
    await running.answer()
    await first.stop(60)  # far sooner
    with pytest.raises(LeftError):
        await report(running)
    go_on.set()
    async with baker(tmp_path) as second:
        await second.resume()
        joined = second.perform(Bake(id="rye"), ALICE, id)
        assert [step.message for step in await report(joined)][-1] == "rye is sliced"


async def test_it_is_gone_on_with_after_a_reboot_by_who_asks_again(tmp_path: Path) -> None:
    """In good order: /run is gone, and the agent had been stopped before."""
    id = new_request_id()
    first = Dispatcher(bare_host(tmp_path))
    await first.perform(Bake(id="rye"), ALICE, id).answer()
    await first.stop(60)
    for path in (tmp_path / "run" / "requests").iterdir():
        path.unlink()
    go_on.set()
    async with baker(tmp_path) as second:
        joined = second.perform(Bake(id="rye"), ALICE, id)
        assert (await joined.answer()).loaf == 1
        assert [step.message for step in await report(joined)][-1] == "rye is sliced"
    assert notes(tmp_path) == ["bake rye", "slice rye"]


async def test_a_refusal_for_load_does_not_use_up_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = new_request_id()
    async with baker(tmp_path) as here:
        monkeypatch.setattr(dispatching, "RUNNING_LIMIT", 0)
        with pytest.raises(Full):
            here.perform(Bake(id="rye", how="plain"), ALICE, id)
        monkeypatch.undo()
        with pytest.raises(Full):
            await here.perform(Bake(id="wheat", how="refuse"), BOB, id).answer()
        assert (await here.perform(Bake(id="rye", how="plain"), ALICE, id).answer()).loaf == 2


async def test_what_is_under_way_is_kept_whatever_the_bounds_are(tmp_path: Path) -> None:
    """What cannot be repeated is on disk before it begins: gone from there, a reboot would have it done twice."""
    ended, id = new_request_id(), new_request_id()
    kept = tmp_path / "containers" / "requests"
    async with baker(tmp_path) as here:
        await here.perform(Bake(id="rye", how="plain"), ALICE, ended).answer()
        await here.drain()
        await here.put_away(sweep=False)
        here.perform(BakeOnce(id="wedding", how="when told"), ALICE, id)
        await until((kept / id).exists)
        assert (kept / ended).exists()
        here.records.sweep(0, 0)
        assert (kept / id).exists() and not (kept / ended).exists()
        assert here.records.find(id) is not None and here.records.find(ended) is None


async def test_who_waits_behind_another_writer_is_counted(tmp_path: Path) -> None:
    async with baker(tmp_path) as here:
        for _ in range(3):
            here.perform(Bake(id="rye", how="when told"), ALICE)
        here.perform(Bake(id="wheat", how="when told"), ALICE)
        await until(lambda: len(notes(tmp_path)) == 2)
        assert (here.running, here.queued) == (4, 2)


async def test_a_bug_harms_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with baker(tmp_path) as here:
        sound = [here.perform(Bake(id=f"rye{n}", how="plain"), ALICE) for n in range(5)]
        with pytest.raises(Bug):
            await here.perform(Bake(id="wheat", how="bug"), ALICE).answer()
        sound += [here.perform(Bake(id=f"oats{n}", how="plain"), ALICE) for n in range(5)]
        assert len([await each.answer() for each in sound]) == 10
    assert "met a bug" in caplog.text


async def test_a_secret_answer_is_given_once(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as first:
        assert (await first.perform(BakeInSecret(id="rye", how="plain"), ALICE, id).answer()).loaf == 1
    async with baker(tmp_path) as second:
        with pytest.raises(Conflict, match="a secret that is given once"):
            await second.perform(BakeInSecret(id="rye", how="plain"), ALICE, id).answer()
    assert '"Loaf"' not in (tmp_path / "containers" / "requests" / id).read_text()


async def test_where_no_record_can_be_written_requests_are_done_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "requests").write_text("no folder either")
    id = new_request_id()
    async with baker(tmp_path) as here:
        one = here.perform(Bake(id="rye"), ALICE, id)
        assert here.perform(Bake(id="rye"), ALICE, id) is one
        assert (await one.answer()).loaf == 1
        assert here.records.all() == [] and here.records.find(id) is None


async def test_what_another_version_owed_has_failed(tmp_path: Path) -> None:
    id = new_request_id()
    await killed(tmp_path, lambda first: first.perform(Bake(id="rye"), ALICE, id).answer())
    path = tmp_path / "run" / "requests" / id
    path.write_text(path.read_text().replace('"Slice"', '"SliceThinly"'))
    async with baker(tmp_path) as second:
        assert await second.resume() == []
        joined = second.perform(Bake(id="rye"), ALICE, id)
        with pytest.raises(Unavailable, match="cut short"):
            await report(joined)


async def test_a_report_without_end_is_kept_to_a_size(tmp_path: Path) -> None:
    id = new_request_id()
    async with baker(tmp_path) as here:
        running = here.perform(Bake(id="rye"), ALICE, id)
        await running.answer()
        for _ in range(10_000):
            running.add(Progress(message="crumb " * 10))
        running.add(Progress(message="what came of it", result=True))
        go_on.set()
        await here.drain()
        messages = [step.message for step in await report(running)]
    assert messages[-1] == "rye is sliced" and "what came of it" in messages
    assert (tmp_path / "containers" / "requests" / id).stat().st_size < 300_000


def test_failures_are_one_family() -> None:
    assert isinstance(LeftError("x"), Failure) and LeftError("x").kind == "Full"
