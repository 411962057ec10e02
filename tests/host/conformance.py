"""What geard relies on of systemd, the engine and the journal: run on the fakes by pytest, and on the real ones.

    /opt/geard/bin/python3 - [CHECK…] < tests/host/conformance.py    in a host, as root; what does not hold is told

It imports nothing but geard and the standard library, so that it can be sent to a host as it is.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from geard.failures import Failure, NotFound, TimedOut, Unavailable
from geard.host import Host
from geard.host.journal import Span
from geard.host.journal_reader import Entry

T = TypeVar("T")

PREFIX = "geard-conformance-"
IMAGE = "geard/busybox-http-app"
IMAGE_PORT = (8080, "tcp")


@dataclass(frozen=True)
class Ground:
    """A host to try things on; units of ours are files in `folder`."""

    host: Host
    folder: Path

    def unit(self, name: str, service: str) -> str:
        unit = f"{PREFIX}{name}.service"
        (self.folder / unit).write_text(f"[Service]\n{service}\n")
        return unit

    async def clear(self) -> None:
        for path in self.folder.glob(f"{PREFIX}*"):
            if not path.is_symlink():
                await self.host.systemd.stop(path.name, wait=10)
                await self.host.systemd.reset_failed(path.name)
            path.unlink()


Check = Callable[[Ground], Awaitable[None]]
CHECKS: list[Check] = []


def check(deed: Check) -> Check:
    CHECKS.append(deed)
    return deed


async def fails(kind: type[Failure], deed: Awaitable[object]) -> Failure:
    try:
        found = await deed
    except kind as failure:
        return failure
    raise AssertionError(f"{kind.__name__} expected, not {found!r}")


async def until(ask: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> T:
    """Ask until the answer is enough."""
    for _ in range(500):
        answer = await ask()
        if enough(answer):
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


RUNS = "Type=exec\nExecStart=/bin/sleep 1000"
SLOW = "Type=exec\nExecStartPre=/bin/sleep 30\nExecStart=/bin/sleep 1000"


@check
async def a_transient_unit_is_made_once(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, f"{PREFIX}once.service"
    properties = [
        ("Description", "s", "made for this"),
        ("ExecStart", "a(sasb)", [["/bin/sleep", ["/bin/sleep", "1000"], False]]),
        ("CollectMode", "s", "inactive-or-failed"),
    ]
    assert await systemd.start_transient(unit, properties)
    await until(lambda: systemd.state(unit), lambda state: state.active == "active")
    assert not await systemd.start_transient(unit, properties)
    assert await systemd.stop(unit, wait=10) == "done"
    await until(lambda: systemd.state(unit), lambda state: state.load == "not-found")


@check
async def a_unit_nobody_knows(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, f"{PREFIX}absent.service"
    await fails(NotFound, systemd.start(unit))
    await fails(NotFound, systemd.start(unit, wait=5))
    await fails(NotFound, systemd.restart(unit))
    assert await systemd.stop(unit) == "done"
    assert await systemd.stop(unit, wait=5) == "done"
    await systemd.reset_failed(unit)
    found = await systemd.properties(unit)
    assert (found["LoadState"], found["ActiveState"], found["SubState"]) == ("not-found", "inactive", "dead"), (
        found
    )
    known = await systemd.state(unit)
    assert (known.load, known.active, known.sub, known.job) == ("not-found", "inactive", "dead", ""), known
    assert await systemd.units(unit) == {}


@check
async def a_unit_that_runs(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("runs", RUNS)
    before = await systemd.properties(unit)
    assert (before["LoadState"], before["ActiveState"], before["MainPID"]) == ("loaded", "inactive", 0), before
    assert await systemd.start(unit, wait=10) == "done"
    running = await systemd.properties(unit)
    assert (running["ActiveState"], running["SubState"]) == ("active", "running"), running
    assert (running["Result"], running["NRestarts"], running["Job"][0]) == ("success", 0, 0), running
    assert running["MainPID"] > 1
    assert running["StateChangeTimestamp"] > 0
    found = (await systemd.units(f"{PREFIX}ru*.service"))[unit]
    assert (found.load, found.active, found.sub, found.job) == ("loaded", "active", "running", ""), found
    assert await systemd.state(unit) == found

    assert await systemd.start(unit, wait=10) == "done"
    assert (await systemd.properties(unit))["MainPID"] == running["MainPID"]
    assert await systemd.restart(unit, wait=10) == "done"
    assert (await systemd.properties(unit))["MainPID"] not in (0, running["MainPID"])

    assert await systemd.stop(unit, wait=10) == "done"
    stopped = await systemd.properties(unit)
    assert (stopped["ActiveState"], stopped["SubState"], stopped["MainPID"]) == ("inactive", "dead", 0), stopped
    assert await systemd.stop(unit, wait=10) == "done"


@check
async def a_restart_starts_what_is_stopped(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("again", RUNS)
    assert await systemd.restart(unit, wait=10) == "done"
    assert (await systemd.properties(unit))["ActiveState"] == "active"


@check
async def without_waiting_it_is_queued(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("queued", RUNS)
    assert await systemd.start(unit) == "queued"
    await until(lambda: systemd.properties(unit), lambda found: found["ActiveState"] == "active")
    assert await systemd.stop(unit) == "queued"


@check
async def a_unit_that_fails_to_start(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("fails", "Type=oneshot\nExecStart=/bin/false")
    assert await systemd.start(unit, wait=10) == "failed"
    found = await systemd.properties(unit)
    assert (found["ActiveState"], found["SubState"], found["Result"]) == ("failed", "failed", "exit-code"), found
    assert (await systemd.units(f"{PREFIX}fails*"))[unit].active == "failed"
    assert await systemd.stop(unit, wait=10) == "done"
    assert (await systemd.properties(unit))["ActiveState"] == "failed"
    await systemd.reset_failed(unit)
    assert (await systemd.properties(unit))["ActiveState"] == "inactive"


def _is(state: str, found: Mapping[str, Any]) -> bool:
    return bool(found["ActiveState"] == state)


@check
async def a_program_that_ends_by_itself(ground: Ground) -> None:
    systemd = ground.host.systemd
    for name, program, state, result in (
        ("true", "/bin/true", "inactive", "success"),
        ("false", "/bin/false", "failed", "exit-code"),
    ):
        unit = ground.unit(name, f"Type=exec\nExecStart={program}")
        started = await systemd.start(unit, wait=10)
        # It was executed, which is what Type=exec waits for; systemd 252 may see the end before it tells so.
        assert started == "done" or (state, started) == ("failed", "failed"), started
        ended = partial(_is, state)
        found = await until(partial(systemd.properties, unit), ended)
        assert found["Result"] == result, found


@check
async def a_masked_unit(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, f"{PREFIX}masked.service"
    (ground.folder / unit).symlink_to("/dev/null")
    assert (await systemd.properties(unit))["LoadState"] == "masked"
    await fails(Unavailable, systemd.start(unit, wait=5))


@check
async def a_start_that_takes_long(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("slow", SLOW)
    await fails(TimedOut, systemd.start(unit, wait=0.1))
    found = await systemd.properties(unit)
    assert found["ActiveState"] == "activating", found
    assert found["Job"][0] > 0, found
    assert (await systemd.units(unit))[unit].job == (await systemd.state(unit)).job == "start"
    assert await systemd.stop(unit, wait=10) == "done"
    found = await systemd.properties(unit)
    assert (found["ActiveState"], found["Result"], found["Job"][0]) == ("failed", "signal", 0), found


@check
async def a_stop_cancels_a_start(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("canceled", SLOW)
    starting = asyncio.create_task(systemd.start(unit, wait=20))
    await until(lambda: systemd.properties(unit), lambda found: found["ActiveState"] == "activating")
    assert await systemd.stop(unit, wait=10) == "done"
    assert await starting == "canceled"


@check
async def a_unit_that_is_a_link(ground: Ground) -> None:
    """As gears are: the file elsewhere, known by a link. Found without a reload."""
    systemd, unit = ground.host.systemd, f"{PREFIX}linked.service"
    with tempfile.TemporaryDirectory() as elsewhere:
        file = Path(elsewhere) / unit
        file.write_text(f"[Service]\n{RUNS}\n")
        (ground.folder / unit).symlink_to(file)
        assert await systemd.start(unit, wait=10) == "done"
        assert (await systemd.properties(unit))["LoadState"] == "loaded"
        (ground.folder / unit).unlink()
        assert (await systemd.properties(unit))["ActiveState"] == "active"
        assert await systemd.stop(unit, wait=10) == "done"


@check
async def properties_and_reload(ground: Ground) -> None:
    systemd, unit = ground.host.systemd, ground.unit("settings", RUNS)
    assert await systemd.start(unit, wait=10) == "done"
    await systemd.set_properties(unit, [("TasksMax", "t", 77)])
    assert (await systemd.properties(unit))["TasksMax"] == 77
    await systemd.reload()
    assert (await systemd.properties(unit))["ActiveState"] == "active"
    assert (await systemd.version())[:3].isdigit()


@check
async def images(ground: Ground) -> None:
    engine = ground.host.engine
    found = await engine.image(IMAGE)
    assert found is not None
    assert re.fullmatch("[0-9a-f]{64}", found.id), found
    # Docker knows a digest only of what came from a registry.
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.digest) or (engine.name, found.digest) == ("docker", ""), (
        found
    )
    assert found.command, found
    assert IMAGE_PORT in found.ports, found
    for reference in (found.id, f"sha256:{found.id}", *found.names):
        again = await engine.image(reference)
        assert (again.id if again is not None else "") == found.id, reference
        assert engine.known(reference) in (None, again), reference
    for absent in ("geard/there-is-none", "docker.io/library/there-is-none:1", "0" * 64):
        assert await engine.image(absent) is None, absent
        assert engine.known(absent) is None, absent
    assert (await engine.version())[0].isdigit()


@check
async def the_journal(ground: Ground) -> None:
    host = ground.host
    unit = ground.unit(f"says-{time.time_ns()}", "Type=exec\nExecStart=/bin/echo what it says")
    assert await host.systemd.start(unit, wait=10) == "done"

    async def entries(span: Span) -> list[Entry]:
        async with aclosing(host.journal.entries(unit, span)) as found:
            return [entry async for entry in found if isinstance(entry, Entry)]

    async def what_it_says() -> list[Entry]:
        return [entry for entry in await entries(Span()) if entry.message == "what it says"]

    said = await until(what_it_says, bool)
    assert len(said) == 1, said
    assert said[0].time > 1_600_000_000_000_000, said
    assert said[0] not in await entries(Span(after=said[0].cursor))
    assert len(await entries(Span(lines=1))) == 1
    assert await entries(Span(lines=0)) == []
    assert [e async for e in host.journal.entries(f"{PREFIX}absent.service", Span())] == []


async def hold(ground: Ground, names: Sequence[str] = ()) -> list[str]:
    """Run every check, or those named; what does not hold."""
    wrong: list[str] = []
    for deed in CHECKS:
        name = getattr(deed, "__name__", str(deed))
        if names and name not in names:
            continue
        try:
            await deed(ground)
        except Exception:  # noqa: BLE001 - whatever it is, it is told
            wrong.append(f"{name}: {traceback.format_exc()}")
        finally:
            await ground.clear()
    return wrong


def main() -> int:
    from geard.host.here import this_host

    async def run() -> list[str]:
        return await hold(Ground(this_host(), Path("/run/systemd/system")), sys.argv[1:])

    wrong = asyncio.run(run())
    print("\n".join(wrong) or "all hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
