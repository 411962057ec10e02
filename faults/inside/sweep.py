"""One scene, cut short at each of its points: what was left, and who set it right."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from faults.inside import disk, gears
from faults.inside.calls import KILL, MAKES_SPACE_NEEDED, Stop, Watched
from faults.inside.gears import SOCKET, Output
from faults.inside.scenes import OTHER, Scene

ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EDQUOT": errno.EDQUOT}
FAULTS = ("kill", *ERRORS)
PAGE = 8080
"""the port that the scenes' program listens on"""
_RANDOM = re.compile(r"\.[0-9a-f]{8}\.tmp|(?<=/)[A-Za-z0-9_-]{22}(?=$|\.)")


@dataclass
class Outcome:
    """One point of one scene."""

    scene: str
    way: str
    fault: str
    point: int
    at: str
    answered: bool = False
    left: str = ""
    """before: nothing had happened; after: all had; between"""
    by_itself: str = ""
    """the same, once the next agent had started"""
    wrong: list[str] = field(default_factory=list[str])
    said: str = ""
    seconds: float = 0.0


@dataclass
class Ran:
    stops: list[str]
    status: int
    said: str
    reached: bool
    answered: bool


class Sweep:
    def __init__(self, scene: Scene, way: str) -> None:
        self.scene, self.way = scene, way
        self._agent_next = True
        """in a scene where gears run, which cannot be put back: the next agent, or the request again"""

    def prepare(self) -> None:
        """Make what stands before the scene; see what it comes to, undisturbed."""
        clear()
        self._set_scene()
        self.kept = disk.keep()
        self.before = disk.tree()
        self.stops = self._run(None).stops
        self.after = disk.tree()
        wrong = disk.problems(at_rest=True) + self._not_running()
        if wrong:
            raise RuntimeError(f"{self.scene.name} by {self.way}, undisturbed: {wrong}")

    def _set_scene(self) -> None:
        for ask in (OTHER, *self.scene.before):
            done(ask)

    def _reset(self) -> None:
        if self.scene.running:
            clear()
            self._set_scene()
        else:
            disk.put_back(self.kept)

    def outcomes(self, fault: str, stride: int, first: int = 1) -> Iterator[Outcome]:
        for turn, point in enumerate(range(first, len(self.stops) + 1, stride)):
            self._agent_next = turn % 2 == 0
            began = time.monotonic()
            found = self._kill(point) if fault == "kill" else self._fail(point, fault)
            found.seconds = round(time.monotonic() - began, 3)
            yield found

    # what is done at a point

    def _kill(self, point: int) -> Outcome:
        found = Outcome(self.scene.name, self.way, "kill", point, self.stops[point - 1])
        self._reset()
        ran = self._run(lambda number, stop: KILL if number == point else 0)
        found.answered = ran.answered
        if not ran.reached:
            found.at = "not reached"
        found.wrong += [f"left: {what}" for what in disk.problems(at_rest=False)]
        found.left = self._where()
        if self.scene.running and not self._agent_next:
            self._again(found)
            return found
        left = disk.keep()
        status = gears.run(gears.next_agent)
        if status:
            found.wrong.append(f"the next agent ended with {status}")
        found.by_itself = self._where()
        at_rest = found.answered or found.by_itself != "between"
        found.wrong += [f"after the next agent: {what}" for what in disk.problems(at_rest=at_rest)]
        if found.answered and found.by_itself != "after":
            found.wrong += [f"after the next agent: {what}" for what in disk.differences(disk.tree(), self.after)]
        if found.answered:
            found.wrong += [f"after the next agent: {what}" for what in self._not_running()]
        if not self.scene.running:
            disk.put_back(left)
        self._again(found)
        return found

    def _fail(self, point: int, fault: str) -> Outcome:
        """EIO: this call alone. A disk that is full: this call and all after it that need space."""
        found = Outcome(self.scene.name, self.way, fault, point, self.stops[point - 1])
        self._reset()

        def verdict(number: int, stop: Stop) -> int:
            if stop.call == "sendto" or number < point or (fault == "EIO" and number > point):
                return 0
            return ERRORS[fault] if fault == "EIO" or stop.call in MAKES_SPACE_NEEDED else 0

        ran = self._run(verdict)
        found.answered = ran.answered
        found.said = ran.said
        found.left = self._where()
        found.wrong += [f"left: {what}" for what in disk.problems(at_rest=False)]
        if ran.status and (
            "a bug" in ran.said or "Traceback" in ran.said or os.strerror(ERRORS[fault]) not in ran.said
        ):
            found.wrong.append(f"it does not say why: {ran.said.strip()[-300:]!r}")
        if ran.status == 0 and found.left != "after":
            found.wrong += [f"told as done: {what}" for what in disk.differences(disk.tree(), self.after)]
        self._again(found)
        return found

    def _again(self, found: Outcome) -> None:
        """The same once more, undisturbed: it completes."""
        disk.forget_requests()
        ran = self._run(lambda number, stop: 0)
        if ran.status:
            found.wrong.append(f"again: it ended with {ran.status}: {ran.said.strip()[-300:]}")
        found.wrong += [f"again: {what}" for what in disk.differences(disk.tree(), self.after)]
        found.wrong += [f"again: {what}" for what in disk.problems(at_rest=True)]
        found.wrong += [f"again: {what}" for what in disk.held_otherwise()]
        found.wrong += [f"again: {what}" for what in self._not_running()]

    def _where(self) -> str:
        now = disk.tree()
        return "after" if now == self.after else "before" if now == self.before else "between"

    def _not_running(self) -> list[str]:
        """Which gears run that should not, and the other way round; a container that nobody has; a port that does
        not lead where its gear's definition has it, or one of before that still does.
        """
        if not self.scene.running:
            return []
        wanted = {f"ctr-{name}" for name in self.scene.runs_after}
        end = time.monotonic() + 15
        while True:
            listed = _said("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "ctr-*.service")
            units = {line.split()[0].removesuffix(".service") for line in listed.splitlines()}
            containers = set(_said("podman", "ps", "-a", "--format", "{{.Names}}").split())
            shut = [where for name in self.scene.runs_after for where in _wrong_doors(name)]
            if units == containers == wanted and not shut:
                return []
            if time.monotonic() > end:
                return [
                    f"units {sorted(units)}, containers {sorted(containers)}, wanted {sorted(wanted)}", *shut
                ]  # fmt: skip
            time.sleep(0.1)

    # one run

    def _run(self, decide: Callable[[int, Stop], int] | None) -> Ran:
        stops: list[str] = []
        armed = self.way == "command"
        answered = False

        def verdict(stop: Stop) -> int:
            nonlocal answered
            if not armed:
                return 0
            stops.append(f"{stop.call} {_RANDOM.sub('*', stop.what)}")
            error = decide(len(stops), stop) if decide is not None else 0
            if error == 0 and stop.call == "sendto" and stop.what == "an answer":
                answered = True
            return error

        output = Output()
        if self.way == "command":
            process = Watched(gears.command(self.scene.ask, output.fileno()), counts, verdict)
            status = process.end()
            said = output.text()
            return Ran(stops, status, said, process.killed, status == 0)
        SOCKET.unlink(missing_ok=True)
        process = Watched(gears.agent(output.fileno()), counts, verdict)
        while not SOCKET.exists() and process.step(0.01):
            pass
        _ask(process, gears.Ask((), OTHER.method, OTHER.path, OTHER.body))
        armed = True
        status, said = _ask(process, self.scene.ask)
        armed = False
        if process.status is None:
            if not process.killed:
                os.kill(process.pid, 9)
            process.end()
        return Ran(stops, status, said + output.text() * bool(status), process.killed, answered)


def _ask(process: Watched, ask: gears.Ask) -> tuple[int, str]:
    output = Output()
    client = gears.fork(gears.asks(ask, output.fileno()))
    end = time.monotonic() + 60
    while True:
        if process.status is None:
            process.step(0.005)
        else:
            time.sleep(0.002)
        ended, status = os.waitpid(client, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), output.text()
        if time.monotonic() > end:
            os.kill(client, 9)


def counts(stop: Stop) -> bool:
    if stop.call == "sendto":
        return stop.what != "something"
    return disk.counts(stop.what) and not stop.what.endswith("/next")


def _wrong_doors(name: str) -> Iterator[str]:
    """Of the ports that the scenes give to the page of a gear that runs."""
    own = disk.ports_of(name)
    if PAGE in own and not _answers(own[PAGE]):
        yield f"port {own[PAGE]} does not lead to {name}"
    for port in sorted({4200, 4300} - set(own.values())):
        if _answers(port):
            yield f"port {port} leads somewhere, and nobody has it"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as line:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return line.recv(4) == b"HTTP"
    except OSError:
        return False


def done(ask: gears.Ask) -> None:
    output = Output()
    status = gears.run(gears.command(ask, output.fileno()))
    if status:
        raise RuntimeError(f"{' '.join(ask.words)} ended with {status}: {output.text()}")


def clear() -> None:
    gears.run(gears.next_agent)
    names = {path.stem.removeprefix("ctr-") for path in disk.BASE.glob("units/*/ctr-*.service")}
    names |= {path.name for path in (disk.BASE / "data").glob("*/*")}
    for name in sorted(names | {"web", "other"}):
        done(gears.Ask(("delete", "--purge", name), "", ""))


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def as_json(found: Outcome) -> dict[str, Any]:
    return asdict(found)
