"""PID 1 as far as geard sees it: units are links or files in `Paths.systemd`, read when they are first asked for.

What a unit does stands in its own text, for the few programs known here: `/bin/sleep`, `/bin/true`, `/bin/false`,
`/bin/echo`. How a gear's program behaves (its `ExecStart` is podman's) a test says by `programs`.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geard.failures import NotFound, TimedOut, Unavailable
from geard.host.systemd import Systemd, UnitState


@dataclass
class Program:
    """How the program of a unit behaves."""

    ready_after: float = 0
    """seconds until it is up"""
    status: int | None = None
    """what it ends with as soon as it is up; None: it stays"""
    fails: bool = False
    """it never comes up"""
    says: str = ""


@dataclass
class FakeUnit:
    name: str
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    pid: int = 0
    job: int = 0
    changed: int = 0
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def become(self, active: str, sub: str, result: str = "success", pid: int = 0) -> None:
        self.active, self.sub, self.result, self.pid = active, sub, result, pid
        self.changed = time.time_ns() // 1_000


class FakeSystemd(Systemd):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packaged: dict[str, str] = {}
        """units that a package brought: name (`x@.service` for a template), text"""
        self.programs: dict[str, Program] = {}
        """how the program of a unit behaves, where its text does not say"""
        self.before: dict[str, Callable[[str], bool]] = {}
        """prefix of names -> what ExecStartPre does; False where it fails"""
        self.told: list[tuple[str, str]] = []
        """what was asked for, in order: ("start", "ctr-web.service")"""
        self.said: Callable[[str, str], None] = lambda unit, line: None
        self.reloads = 0
        self.broken = ""
        """not empty: the bus does not answer, for this reason"""
        self._units: dict[str, FakeUnit] = {}
        self._numbers = itertools.count(4_000)

    def told_about(self, unit: str) -> list[str]:
        return [verb for verb, name in self.told if name == unit]

    def restart_machine(self) -> None:
        """Nothing runs, and nothing is known of what did."""
        self._units.clear()
        self.told.clear()

    async def start(self, unit: str, *, wait: float | None = None) -> str:
        self.told.append(("start", unit))
        return await self._start(unit, wait, restart=False)

    async def restart(self, unit: str, *, wait: float | None = None) -> str:
        self.told.append(("restart", unit))
        return await self._start(unit, wait, restart=True)

    async def stop(self, unit: str, *, wait: float | None = None) -> str:
        self.told.append(("stop", unit))
        self._answer()
        found = self._load(unit)
        if found.load == "not-found" and found.active == "inactive":
            return "done"
        found.job = 0  # whoever waits for another job of this unit is told that it was canceled
        if found.active == "activating":
            found.become("failed", "failed", "signal")
        elif found.active != "failed":
            found.become("inactive", "dead")
        return "queued" if wait is None else "done"

    async def start_transient(self, unit: str, properties: Sequence[tuple[str, str, Any]]) -> bool:
        """It runs until a test, or a stop, ends it."""
        self.told.append(("start_transient", unit))
        self._answer()
        found = self._load(unit)
        if found.load == "loaded" or found.active not in ("inactive", "failed"):
            return False
        found.load, found.settings = "loaded", {name: value for name, _, value in properties}
        found.become("active", "running", pid=next(self._numbers))
        return True

    async def reset_failed(self, unit: str) -> None:
        self.told.append(("reset_failed", unit))
        self._answer()
        found = self._units.get(unit)
        if found is not None and found.active == "failed":
            found.become("inactive", "dead")

    async def kill(self, unit: str, signal: int) -> None:
        self.told.append(("kill", unit))
        self._answer()
        found = self._units.get(unit)
        if found is None or found.active != "active":
            raise NotFound(f"systemd knows no unit {unit}")
        found.become("failed", "failed", "signal")

    async def properties(self, unit: str, interface: str = "") -> dict[str, Any]:
        self._answer()
        found = self._load(unit)
        return {
            "Id": unit,
            "LoadState": found.load,
            "ActiveState": found.active,
            "SubState": found.sub,
            "StateChangeTimestamp": found.changed,
            "Job": (found.job, "/"),
            "NRestarts": 0,
            "MainPID": found.pid,
            "Result": found.result,
            **found.settings,
        }

    async def state(self, unit: str) -> UnitState:
        self._answer()
        found = self._load(unit)
        return UnitState(unit, found.load, found.active, found.sub, "start" if found.job else "")

    async def units(self, *patterns: str) -> dict[str, UnitState]:
        """A unit that runs, has failed or is enabled by somebody stays loaded; others are forgotten."""
        self._answer()
        return {
            name: UnitState(name, unit.load, unit.active, unit.sub, "start" if unit.job else "")
            for name, unit in self._units.items()
            if (unit.active != "inactive" or unit.job)
            and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }

    async def set_properties(self, unit: str, properties: Sequence[tuple[str, str, Any]]) -> None:
        self.told.append(("set_properties", unit))
        self._answer()
        found = self._load(unit)
        if found.load == "not-found":
            raise NotFound(f"systemd knows no unit {unit}")
        found.settings |= {name: value for name, _, value in properties}

    async def reload(self) -> None:
        self._answer()
        self.reloads += 1

    async def version(self) -> str:
        self._answer()
        return "257"

    def close(self) -> None:
        pass

    def _answer(self) -> None:
        if self.broken:
            raise Unavailable(f"the system bus does not answer: {self.broken}")

    def _text(self, unit: str) -> str | None:
        """The unit's file; empty where it is masked."""
        path = self.folder / unit
        if path.is_symlink() and str(path.readlink()) == "/dev/null":
            return ""
        if path.exists():
            return path.read_text()
        name, at, rest = unit.partition("@")
        template = f"{name}@.{rest.rpartition('.')[2]}" if at else unit
        return self.packaged.get(template)

    def _load(self, unit: str) -> FakeUnit:
        found = self._units.setdefault(unit, FakeUnit(unit))
        if found.active in ("inactive", "failed"):
            text = self._text(unit)
            found.load = "not-found" if text is None else "masked" if not text else "loaded"
        return found

    def _program(self, unit: str) -> Program:
        if unit in self.programs:
            return self.programs[unit]
        lines = dict(line.split("=", 1) for line in (self._text(unit) or "").splitlines() if "=" in line)
        before, command = lines.get("ExecStartPre", "").split(), lines.get("ExecStart", "").split()
        delay = float(before[1]) if before[:1] == ["/bin/sleep"] else 0
        oneshot = lines.get("Type") == "oneshot"
        match command[:1]:
            case ["/bin/true"]:
                return Program(delay, status=0)
            case ["/bin/false"]:
                return Program(delay, status=None if oneshot else 1, fails=oneshot)
            case ["/bin/echo"]:
                return Program(delay, status=0, says=" ".join(command[1:]))
            case _:
                return Program(delay)

    async def _start(self, unit: str, wait: float | None, *, restart: bool) -> str:
        self._answer()
        found = self._load(unit)
        if found.load == "not-found":
            raise NotFound(f"systemd knows no unit {unit}")
        if found.load == "masked":
            raise Unavailable(f"systemd cannot load {unit}: it is masked")
        if found.active == "active" and not restart:
            return "queued" if wait is None else "done"
        job = found.job = next(self._numbers)
        found.become("activating", "start")
        program = self._program(unit)
        until = time.monotonic() + program.ready_after
        patience = None if wait is None else time.monotonic() + wait
        while time.monotonic() < until:
            if wait is None:
                return "queued"
            if found.job != job:
                return "canceled"
            if patience is not None and time.monotonic() > patience:
                raise TimedOut(f"{unit} is still at it after {wait:g} s", hint="it goes on; ask its status")
            await asyncio.sleep(0.002)
        found.job = 0
        result = self._come_up(found, program)
        return "queued" if wait is None else result

    def _come_up(self, unit: FakeUnit, program: Program) -> str:
        before = next((deed for prefix, deed in self.before.items() if unit.name.startswith(prefix)), None)
        if program.fails or (before is not None and not before(unit.name)):
            unit.become("failed", "failed", "exit-code")
            return "failed"
        if program.says:
            self.said(unit.name, program.says)
        if program.status is None:
            unit.become("active", "running", pid=next(self._numbers))
        elif program.status == 0:
            unit.become("inactive", "dead")
        else:
            unit.become("failed", "failed", "exit-code")
        return "done"
