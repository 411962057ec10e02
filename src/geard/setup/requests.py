"""The words of setting up a host."""

from __future__ import annotations

from typing import Literal

from geard.doctor.requests import Finding
from geard.request import Answer, Request, Route
from geard.words import Word


class RecoveredGear(Word):
    id: str
    state: Literal["starts", "runs", "stays stopped", "does not run"]
    """`starts`: it is to run, and systemd is at it"""
    changed: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    """what could not be done, or will not work on this machine, and what helps"""


class HostReport(Answer):
    findings: tuple[Finding, ...]
    gears: tuple[RecoveredGear, ...] = ()

    @property
    def ready(self) -> bool:
        return not any(finding.bad for finding in self.findings) and not any(gear.troubles for gear in self.gears)

    def text(self) -> str:
        lines: list[str] = []
        for finding in self.findings:
            lines += finding.lines()
        for gear in self.gears:
            lines.append(f"{'gear':>8}  {gear.id}: {'; '.join((gear.state, *gear.changed))}")
            lines += [f"{'':>8}  -> {trouble}" for trouble in gear.troubles]
        return "\n".join(lines)


class Version(Answer):
    example = {"Version": "0.1.0", "Engine": "podman 5.4.2", "Systemd": "257.13-1~deb13u1"}

    version: str
    engine: str
    systemd: str

    def text(self) -> str:
        return f"gear {self.version}, {self.engine}, systemd {self.systemd}"


class GetVersion(Request[Version]):
    """Which geard does the work on a machine, and what it stands on."""

    route = Route("GET", "/version", scope="read", reach="shown")


class SetUpHost(Request[HostReport]):
    """Make this machine ready for gears; with `check`, only say what it lacks.

    With `recover`, take over the gears whose disk came from another machine, or whose machine lost its /etc; with
    `dry_run` too, only say what would be done.
    """

    check: bool = False
    recover: bool = False
    dry_run: bool = False
