"""When a job is to end that does not by itself: it is told to, by somebody or for its limits, and killed where it
does not heed that. Standard library only.
"""

from __future__ import annotations

import time

from geard.jobs.hooking import Facts
from geard.jobs.program import ASK_PAUSE, Program
from geard.jobs.usage import larger_than

LOOK_SECONDS = 2.0
KILL_AGAIN_SECONDS = 5.0


class Bounds:
    def __init__(self, order: Facts, program: Program) -> None:
        self.told = False
        self.reason = self.message = ""
        self._order, self._program = order, program
        self._kill_at = self._limit_at = self._look_at = 0.0

    def begin(self) -> None:
        """The program runs: its time counts."""
        if self._order["TimeLimit"]:
            self._limit_at = time.monotonic() + self._order["TimeLimit"]
        if self._order.get("Artifacts"):
            self._look_at = time.monotonic() + LOOK_SECONDS

    def tell(self, reason: str, message: str, signal: str = "TERM") -> None:
        """It may take its time, but not for ever; told once more, none."""
        if not self.reason:
            self.reason, self.message = reason, message
        self.told = True
        self._program.pass_on(signal)
        self._kill_at = time.monotonic() + (0 if self._kill_at else self._order["Grace"])

    def patience(self) -> float | None:
        """Seconds until there is something to look at; None for never."""
        if self._program.ask_until:
            return ASK_PAUSE
        times = [at for at in (self._kill_at, self._limit_at, self._look_at) if at]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def look(self) -> None:
        now = time.monotonic()
        if self._kill_at and now >= self._kill_at:
            self._kill_at = now + KILL_AGAIN_SECONDS
            self._program.signal("KILL")
        if self._limit_at and now >= self._limit_at:
            self._limit_at = 0
            self.tell("time limit", f"it was ended after {self._order['TimeLimit']:g} s, its time limit")
        if self._look_at and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            files = self._order["Artifacts"]
            if larger_than(files["Folder"], files["Most"]):
                self._look_at = 0
                self.tell("artifacts", f"it wrote more than {files['Most']} bytes into {files['Path']}")
