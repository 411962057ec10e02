"""From the journal's entries to events, one after the other. Pure.

Most events are one entry of systemd's. What that does not say stands in entries shortly before it: the request
that asked for a start, the status that a program ended with, that it was killed for memory. So a reading remembers
a little of each unit, and begins some time before its first event.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geard.events import entries
from geard.events.requests import Event
from geard.host.fields import ASKER, EVENT, GEAR, REASON, REPOSITORY, REQUEST_ID
from geard.host.journal_reader import Entry
from geard.logs.lines import render_time

RUN_UP = 120_000_000
"""microseconds that a reading begins before its first event"""
ASKED_LASTS = 120_000_000
"""microseconds after which a request is not taken for the cause of what systemd does"""
UNITS = 500
"""units that a reading remembers something of, the latest"""

_GEAR = re.compile(r"ctr-([A-Za-z0-9][A-Za-z0-9_.-]{1,63})\.service", re.ASCII)
_PULL = re.compile(r"geard-pull@[0-9a-f]{32}\.service", re.ASCII)
_SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 9: "KILL", 11: "SEGV", 13: "PIPE", 15: "TERM"}
_RESULTS = {
    "timeout": "it did not come up, or down, in time",
    "oom-kill": "it was killed for using more memory than its limit",
    "start-limit-hit": "it was started too often",
    "assert": "the rules that keep gears apart are not in force on this host",
    "dependency": "what it needs could not be started",
    "core-dump": "its program crashed",
    "watchdog": "it gave no sign of life",
}
_JOBS = {"start": ("start",), "stop": ("stop",), "restart": ("start", "stop")}


@dataclass
class _Unit:
    asked: Entry | None = None
    """the last request that asked systemd for something"""
    cause: Entry | None = None
    """the request behind the job under way"""
    ended: Mapping[str, str] = field(default_factory=dict[str, str])
    """what gear-record said of the run that ends"""
    exit: Mapping[str, str] = field(default_factory=dict[str, str])
    """what systemd said of its main process"""
    stopping: bool = False
    down: bool = False
    """that it is down has been told"""
    kept_ready: bool = False
    """it is idle, and its container made, without a program that runs: what systemd does with that is no event"""
    health: str = ""
    """what its last check found, by podman's word; empty: not known"""

    def begin(self, job: str, at: int) -> None:
        asked = self.asked
        meant = asked is not None and job in _JOBS.get(asked.fields.get("GEARD_JOB", ""), ())
        self.cause = asked if asked is not None and meant and at - asked.time < ASKED_LASTS else None
        self.stopping = job == "stop"

    def run(self) -> None:
        self.kept_ready, self.down, self.ended, self.exit, self.health = False, False, {}, {}, "starting"

    def end(self) -> Mapping[str, Any]:
        """Of the run that ends now: how, and why."""
        how = _how(self.ended, self.exit)
        self.ended, self.exit, self.down = {}, {}, True
        return how


class Reading:
    """Takes every entry of MESSAGES in order."""

    def __init__(self) -> None:
        self._units: OrderedDict[str, _Unit] = OrderedDict()

    def read(self, entry: Entry) -> Event | None:
        """The event that this entry completes, if it does."""
        if entry.fields.get("MESSAGE_ID") == entries.OURS:
            return self._ours(entry)
        if entry.fields.get(entries.HEALTH[0]) == entries.HEALTH[1]:
            return self._podmans(entry)
        name = entry.fields.get("UNIT", "")
        gear = _GEAR.fullmatch(name)
        return _pull(entry, name) if gear is None else self._systemds(entry, self._unit(name), gear[1])

    def _unit(self, name: str) -> _Unit:
        unit = self._units.setdefault(name, _Unit())
        self._units.move_to_end(name)
        if len(self._units) > UNITS:
            self._units.popitem(last=False)
        return unit

    def _ours(self, entry: Entry) -> Event | None:
        fields = entry.fields
        kind, id = fields.get(EVENT, ""), fields.get(GEAR, "")
        name, writer = f"ctr-{id}.service", fields.get("_SYSTEMD_UNIT", "")
        if (id and not _GEAR.fullmatch(name)) or (_GEAR.fullmatch(writer) and writer != name):
            return None
        if kind == entries.ASKED:
            unit, keep_ready = self._unit(name), fields.get("GEARD_JOB") == entries.KEEP_READY
            unit.asked, unit.kept_ready = (None, True) if keep_ready else (entry, unit.kept_ready)
            return None
        if kind == entries.ENDED:
            self._unit(name).ended = fields
            return None
        if kind == entries.WOKEN and self._unit(name).kept_ready:
            self._unit(name).run()
        return _event(
            entry,
            kind,
            id,
            message=fields.get("GEARD_TEXT", "") or fields.get(REASON, ""),
            request=fields.get(REQUEST_ID, ""),
            by=fields.get(ASKER, ""),
            version=fields.get("GEARD_VERSION", ""),
            image=fields.get("GEARD_IMAGE", ""),
            reason=fields.get(REASON, ""),
            repository=fields.get(REPOSITORY, ""),
            **_of_job(fields),
        )

    def _podmans(self, entry: Entry) -> Event | None:
        """A check of a gear's health: told where it finds something else than the one before, or than a start."""
        name, health = (
            f"{entry.fields.get('PODMAN_NAME', '')}.service",
            entry.fields.get("PODMAN_HEALTH_STATUS", ""),
        )
        gear = _GEAR.fullmatch(name)
        if gear is None or _GEAR.fullmatch(entry.fields.get("_SYSTEMD_UNIT", "")) or not health:
            return None
        unit = self._unit(name)
        before, unit.health = unit.health, health
        if before in ("", health) or health not in ("healthy", "unhealthy"):
            return None
        failed = entry.fields.get("PODMAN_HEALTH_FAILING_STREAK", "")
        times = f" {failed} times in a row" if failed.isdecimal() and failed != "1" else ""
        return _event(entry, health, gear[1], reason=f"its check failed{times}" if health == "unhealthy" else "")

    def _systemds(self, entry: Entry, unit: _Unit, id: str) -> Event | None:
        fields = entry.fields
        if unit.kept_ready:
            if fields.get("MESSAGE_ID") != entries.STARTING or unit.asked is None:
                return None
        match fields.get("MESSAGE_ID"):
            case entries.STARTING:
                unit.begin("start", entry.time)
                unit.run()
                return _event(entry, "starting", id, **_by(unit.cause))
            case entries.STARTED:
                cause, unit.asked, unit.cause = unit.cause, None, None
                return _event(entry, "started", id, **_by(cause))
            case entries.STOPPING:
                unit.begin("stop", entry.time)
                return _event(entry, "stopping", id, **_by(unit.cause))
            case entries.PROCESS_ENDED:
                if fields.get("COMMAND") == "ExecStart":
                    unit.exit = fields
                return None
            case entries.ENDED_WELL:
                # The end of a stop is told when the job is done. What ends by itself with a status that a stop may
                # bring (137) has not ended well.
                if unit.stopping:
                    return None
                how = unit.end()
                killed = how["oom"] or how["signal"] == "KILL"
                return _event(entry, "failed" if killed else "stopped", id, **how)
            case entries.FAILED:
                how = unit.end()
                reason = how["reason"] if fields.get("UNIT_RESULT") == "exit-code" else ""
                return _event(
                    entry, "failed", id, **{**how, "reason": reason or _result(fields, "UNIT_RESULT", how)}
                )
            case entries.NOT_STARTED:
                return _not_started(entry, unit, id)
            case entries.STOPPED:
                told, cause = unit.down, unit.cause
                unit.stopping, unit.cause = False, None
                if fields.get("JOB_TYPE") != "restart":
                    unit.asked = None
                return None if told else _event(entry, "stopped", id, **unit.end(), **_by(cause))
            case entries.RESTARTING:
                unit.asked = unit.cause = None
                count = fields.get("N_RESTARTS", "")
                return _event(entry, "restarting", id, restarts=int(count) if count.isdecimal() else 0)
            case _:
                return None


def _not_started(entry: Entry, unit: _Unit, id: str) -> Event | None:
    """A start that came to nothing: told where its end was not, and where nothing was started at all."""
    result = entry.fields.get("JOB_RESULT", "")
    cause, unit.asked, unit.cause = unit.cause, None, None
    if result == "canceled" or (unit.down and result not in ("assert", "dependency")):
        return None
    how = unit.end()
    return _event(entry, "failed", id, **{**how, "reason": _result(entry.fields, "JOB_RESULT", how)}, **_by(cause))


def _pull(entry: Entry, name: str) -> Event | None:
    """A pull that was killed: one that fails by itself says so by itself."""
    result = entry.fields.get("UNIT_RESULT", "")
    if not _PULL.fullmatch(name) or result in ("", "exit-code"):
        return None
    return _event(entry, "pull-failed", "", reason=_result(entry.fields, "UNIT_RESULT", {}))


def _of_job(fields: Mapping[str, str]) -> Mapping[str, Any]:
    """How a job ended, which has no unit that is known here."""
    status = fields.get("GEARD_EXIT_STATUS", "")
    if fields.get(EVENT) != "job-ended" or not status.isdecimal():
        return {}
    return {"exit_status": int(status), "oom": fields.get("GEARD_OOM") == "yes"}


def _event(entry: Entry, kind: str, id: str, **more: Any) -> Event:
    return Event(
        time=render_time(entry.time),
        kind=kind,
        id=id,
        host=entry.fields.get("_HOSTNAME", ""),
        cursor=entry.cursor,
        **{"message": more.get("reason", ""), **more},
    )


def _by(cause: Entry | None) -> dict[str, Any]:
    if cause is None:
        return {}
    return {"request": cause.fields.get(REQUEST_ID, ""), "by": cause.fields.get(ASKER, "")}


def _how(ended: Mapping[str, str], exit: Mapping[str, str]) -> dict[str, Any]:
    """How a run ended: gear-record knows best, else what systemd says of the main process."""
    code = ended.get("GEARD_EXIT_CODE") or exit.get("EXIT_CODE", "")
    status = ended.get("GEARD_EXIT_STATUS") or exit.get("EXIT_STATUS", "")
    number = int(status) if status.isdecimal() else None
    exited = number if code == "exited" else None
    signal = _signal(None if number is None else number - 128 if code == "exited" else number)
    if code in ("killed", "dumped") and number is None:
        signal = status
    oom = ended.get("GEARD_OOM") == "yes"
    reason = ended.get(REASON, "")
    if oom:
        reason = reason or _RESULTS["oom-kill"]
    elif signal:
        reason = reason or f"its program was ended by signal {signal}"
    elif exited is not None:
        reason = reason or f"its program ended with status {exited}"
    return {"reason": reason, "exit_status": exited, "signal": signal, "oom": oom}


def _signal(number: int | None) -> str:
    return _SIGNALS.get(number or 0, "")


def _result(fields: Mapping[str, str], name: str, how: Mapping[str, Any]) -> str:
    """A result of systemd's in words, but for those that say less than is known."""
    result = fields.get(name, "")
    return _RESULTS.get(result) or str(how.get("reason") or "") or f"systemd says: {result}"
