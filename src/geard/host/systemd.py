"""systemd as geard uses it: start, stop, look, over D-Bus; never a daemon-reload on a request's path.

A new unit file is found without a reload. The truth about a start is the job's result, so a caller subscribes
before it asks (org.freedesktop.systemd1(5)).
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dbus_fast import Message, Variant

from geard.failures import Failure, NotFound, TimedOut, Unavailable
from geard.host.bus import Bus, Refused

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_NOT_THERE = ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected")
REEXEC_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
_PLAIN = frozenset(string.ascii_letters + string.digits)


@dataclass(frozen=True)
class UnitState:
    name: str
    load: str
    active: str
    sub: str
    job: str = ""
    """the type of a job that waits or runs: start, stop, restart; or empty"""


def object_path(unit: str) -> str:
    """The D-Bus object of a unit (sd_bus_path_encode(3))."""
    label = "".join(
        c if c in _PLAIN and not (i == 0 and c.isdigit()) else "".join(f"_{b:02x}" for b in c.encode())
        for i, c in enumerate(unit)
    )
    return f"{_PATH}/unit/{label}"


class Systemd:
    def __init__(self, bus: Bus | None = None) -> None:
        self._bus = bus or Bus()
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._early: dict[str, str] = {}
        self._listening = False
        self._reload: asyncio.Task[None] | None = None
        self._reload_again = False
        self._bus.on_connect = self._subscribe

    async def start(self, unit: str, *, wait: float | None = None) -> str:
        """Ask for a start. With `wait` (seconds), the job's result: done, failed, canceled, timeout, dependency,
        skipped, …; without, "queued" as soon as PID 1 has the job.

        Raises NotFound, Unavailable, TimedOut.
        """
        return await self._job("StartUnit", unit, "replace", wait)

    async def stop(self, unit: str, *, wait: float | None = None) -> str:
        """As `start`. A unit that systemd does not know is stopped: "done"."""
        try:
            return await self._job("StopUnit", unit, "replace", wait)
        except NotFound:
            return "done"

    async def restart(self, unit: str, *, wait: float | None = None) -> str:
        return await self._job("RestartUnit", unit, "replace", wait)

    async def start_transient(self, unit: str, properties: Sequence[tuple[str, str, Any]]) -> bool:
        """Make a unit that is there until it has ended, and start it; (name, D-Bus signature, value) each. False
        where there is one of that name. Nobody waits for it to be up.
        """
        values = [[name, Variant(kind, value)] for name, kind, value in properties]
        try:
            await self._call(_PATH, _MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", values, [])
        except Refused as error:
            if error.name.endswith("UnitExists"):
                return False
            raise _failure(error, unit) from error
        return True

    async def reset_failed(self, unit: str) -> None:
        """Forget that a unit failed, and how often it was restarted; unknown is fine."""
        try:
            await self._manager("ResetFailedUnit", "s", unit)
        except NotFound:
            return

    async def kill(self, unit: str, signal: int) -> None:
        await self._manager("KillUnit", "ssi", unit, "main", signal)

    async def properties(self, unit: str, interface: str = "") -> dict[str, Any]:
        """All properties of a unit; one that systemd does not know has LoadState "not-found"."""
        try:
            (found,) = await self._call(
                object_path(unit), "org.freedesktop.DBus.Properties", "GetAll", "s", interface
            )
        except Refused as error:
            raise _failure(error, unit) from error
        return {name: value.value for name, value in found.items()}

    async def state(self, unit: str) -> UnitState:
        """Where a unit stands: a tenth of what all its properties cost both sides. Unknown, it is "not-found"."""
        ((row,),) = await self._manager("ListUnitsByNames", "as", [unit])
        return _state(row)

    async def units(self, *patterns: str) -> dict[str, UnitState]:
        """The loaded units whose names match (fnmatch). Never lists unit files: that takes seconds at 1,000."""
        (rows,) = await self._manager("ListUnitsByPatterns", "asas", [], list(patterns))
        return {row[0]: _state(row) for row in rows}

    async def set_properties(self, unit: str, properties: Sequence[tuple[str, str, Any]]) -> None:
        """Change properties of a running unit until the next reload; (name, D-Bus signature, value) each."""
        values = [[name, Variant(kind, value)] for name, kind, value in properties]
        await self._manager("SetUnitProperties", "sba(sv)", unit, True, values)

    async def reload(self) -> None:
        """Have PID 1 read all unit files anew: 0.2 s to many seconds. Who comes meanwhile shares one more."""
        if self._reload is not None and not self._reload.done():
            self._reload_again = True
            await asyncio.shield(self._reload)
            return
        self._reload = asyncio.create_task(self._reload_until_quiet())
        await asyncio.shield(self._reload)

    async def version(self) -> str:
        (value,) = await self._call(_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", _MANAGER, "Version")
        return str(value.value)

    def close(self) -> None:
        self._bus.close()

    async def _reload_until_quiet(self) -> None:
        while True:
            self._reload_again = False
            await self._manager("Reload", "", seconds=120)
            if not self._reload_again:
                return

    async def _job(self, method: str, unit: str, mode: str, wait: float | None) -> str:
        if wait is not None:
            await self._listen()
        (path,) = await self._manager(method, "ss", unit, mode)
        if wait is None:
            return "queued"
        if path in self._early:
            return self._early.pop(path)
        result = self._jobs.setdefault(path, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(result), wait)
        except TimeoutError:
            raise TimedOut(f"{unit} is still at it after {wait:g} s", hint="it goes on; ask its status") from None
        finally:
            self._jobs.pop(path, None)

    async def _listen(self) -> None:
        if self._listening:
            return
        self._listening = True
        await self._bus.listen(f"type='signal',sender='{_NAME}',member='JobRemoved'", self._heard)
        await self._subscribe()

    async def _subscribe(self) -> None:
        if not self._listening:
            return
        try:
            await self._bus.call(_NAME, _PATH, _MANAGER, "Subscribe")
        except Refused as error:
            if not error.name.endswith("AlreadySubscribed"):
                raise Unavailable(f"systemd refuses to tell about jobs: {error.text}") from error

    def _heard(self, message: Message) -> None:
        if message.member != "JobRemoved":
            return
        _, path, _, result = message.body
        waiting = self._jobs.get(path)
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(result)
            return
        # The signal can overtake the reply that tells us the job's path.
        self._early[path] = result
        while len(self._early) > 256:
            self._early.pop(next(iter(self._early)))

    async def _manager(self, method: str, signature: str, *body: Any, seconds: float = 25) -> list[Any]:
        try:
            return await self._call(_PATH, _MANAGER, method, signature, *body, seconds=seconds)
        except Refused as error:
            raise _failure(error, str(body[0]) if body else method) from error

    async def _call(
        self, path: str, interface: str, member: str, signature: str, *body: Any, seconds: float = 25
    ) -> list[Any]:
        """Asked again where PID 1 left the bus before it answered: it does when it executes itself anew, as an
        upgrade of systemd has it do. Nothing that is asked here does harm twice. Raises Refused.
        """
        for pause in REEXEC_PAUSES:
            try:
                return await self._bus.call(_NAME, path, interface, member, signature, *body, seconds=seconds)
            except Refused as error:
                if error.name.rpartition(".")[2] not in _NOT_THERE:
                    raise
            await asyncio.sleep(pause)
        return await self._bus.call(_NAME, path, interface, member, signature, *body, seconds=seconds)


def _state(row: Sequence[Any]) -> UnitState:
    """A row of ListUnits and its kind (org.freedesktop.systemd1(5))."""
    return UnitState(row[0], row[2], row[3], row[4], row[8])


def _failure(error: Refused, about: str) -> Failure:
    kind = error.name.rpartition(".")[2]
    if kind in ("NoSuchUnit", "FileNotFound"):
        return NotFound(f"systemd knows no unit {about}")
    if kind in ("LoadFailed", "BadUnitSetting", "UnitMasked"):
        return Unavailable(f"systemd cannot load {about}: {error.text}", hint=f"systemctl status {about}")
    return Unavailable(f"systemd refused {about}: {error.text or error.name}")
