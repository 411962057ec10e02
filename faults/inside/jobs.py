"""A job that is begun, cut short at each point: it has not begun, or its unit goes on and its result is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from faults.inside import disk, gears
from faults.inside.calls import KILL
from faults.inside.scenes import RAN
from faults.inside.sweep import Outcome, Sweep, done

PATIENCE_SECONDS = 120.0
RESULT = "ended with 4, ran 1 times"


class JobSweep(Sweep):
    def prepare(self) -> None:
        self._clear()
        self.stops = self._run(None).stops
        wrong = self._ended()
        if wrong:
            raise RuntimeError(f"{self.scene.name} by {self.way}, undisturbed: {wrong}")

    def _kill(self, point: int) -> Outcome:
        found = Outcome(self.scene.name, self.way, "kill", point, self.stops[point - 1])
        self._clear()
        ran = self._run(lambda number, stop: KILL if number == point else 0)
        found.answered, found.left = ran.answered, self._where()
        if not ran.reached:
            found.at = "not reached"
        if self._agent_next:
            status = gears.run(gears.next_agent)
            if status:
                found.wrong.append(f"the next agent ended with {status}")
            found.by_itself = self._where()
        if (found.answered and self._agent_next) or self._unit_is_there():
            found.wrong += [f"nobody asking again: {what}" for what in self._ended()]
        disk.forget_requests()
        again = self._run(lambda number, stop: 0)
        if again.status:
            found.wrong.append(f"again: it ended with {again.status}: {again.said.strip()[-300:]}")
        found.wrong += [f"again: {what}" for what in self._ended()]
        return found

    def _where(self) -> str:
        """Before: nothing is there. After: its unit has begun."""
        kept, state = self._kept(), self._state()
        if (kept / "result").exists() or (state / "phase").exists() or self._unit_is_there():
            return "after"
        return "between" if kept.exists() or state.exists() else "before"

    def _ended(self) -> list[str]:
        """What is not as it is to be once it has ended: its result, how often it ran, and what it held."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (wrong := self._not_ended()) and time.monotonic() < end:
            time.sleep(0.1)
        return wrong

    def _not_ended(self) -> list[str]:
        kept, times = self._kept(), Path(RAN) / "times"
        try:
            status = json.loads((kept / "result").read_text())["Status"]
        except (OSError, ValueError):
            status = "nothing"
        count = len(times.read_text().splitlines()) if times.exists() else 0
        said = f"ended with {status}, ran {count} times"
        left = [f"{path} is left" for path in (*self._slots(), self._state()) if os.path.lexists(path)]
        return [*([said] if said != RESULT else []), *left]

    def _kept(self) -> Path:
        return disk.BASE / "jobs" / self.scene.job[:2] / self.scene.job

    def _state(self) -> Path:
        return Path("/run/geard/jobs") / self.scene.job

    def _slots(self) -> list[Path]:
        kept = str(self._kept())
        return [
            path for path in (disk.BASE / "slots").glob("*") if path.is_symlink() and os.readlink(path) == kept
        ]

    def _unit_is_there(self) -> bool:
        words = ["systemctl", "is-active", "--quiet", f"job-{self.scene.job}.service"]
        return subprocess.run(words, check=False).returncode == 0

    def _clear(self) -> None:
        gears.run(gears.next_agent)
        if (self._kept() / "job").exists():
            done(gears.Ask(("job", "cancel", self.scene.job), "", ""))
            done(gears.Ask(("job", "remove", self.scene.job), "", ""))
        for path in self._slots():
            path.unlink()
        for folder in (self._kept(), self._state()):
            shutil.rmtree(folder, ignore_errors=True)
        disk.forget_requests()
        shutil.rmtree(RAN, ignore_errors=True)
        Path(RAN).mkdir()
        Path(RAN).chmod(0o777)
